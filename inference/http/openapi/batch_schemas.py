"""Schemas of manifests, batches, result rows and dead letters."""

from __future__ import annotations

from typing import Any, Final

from inference.batch.survey import BatchState
from inference.settings import MAX_MINI_BATCH_SIZE, BatchSettings

type Json = dict[str, Any]

_COUNT: Json = {"type": "integer", "minimum": 0}
_TIME: Json = {"type": "string", "format": "date-time"}
_TEXT: Json = {"type": "string"}
_BATCH_ID: Json = {"$ref": "#/components/schemas/BatchId"}
_CODE: Json = {"$ref": "#/components/schemas/ErrorCode"}
_REDACTED_URL: Json = {"type": "string", "description": "Without user, password and query."}


def _object(required: list[str], properties: Json, **more: Any) -> Json:
    return {"type": "object", "required": required, "properties": properties, **more}


def _references(*names: str) -> list[Json]:
    """Return the forms of a schema; each has a name, so that the class that a generator makes of it has one."""
    return [{"$ref": f"#/components/schemas/{name}"} for name in names]


def _manifest_options() -> Json:
    defaults = BatchSettings()
    return {
        "batch_id": {**_BATCH_ID, "description": "Made when it is left out."},
        "model": {
            "type": "string",
            "minLength": 1,
            "maxLength": 256,
            "description": "NAME or NAME:VERSION; the default model when left out.",
        },
        "mini_batch_size": {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_MINI_BATCH_SIZE,
            "description": f"Images in one shard; {defaults.shard_size} by default.",
        },
        "error_threshold": {
            "type": "integer",
            "minimum": -1,
            "default": -1,
            "description": "Failed images that the batch may have and still succeed; -1 is any number.",
        },
        "max_retries": {
            "type": "integer",
            "minimum": 0,
            "maximum": 100,
            "description": f"Further attempts at an image; {defaults.max_attempts - 1} by default.",
        },
        "callback_url": {
            "type": "string",
            "minLength": 1,
            "maxLength": 2048,
            "description": (
                "Where to POST the summary when the batch, or a replay of it, has ended; under a prefix that"
                " the operator allows (INFERENCE_CALLBACK_ALLOW). No part of what makes a batch the same."
            ),
        },
    }


#: What a manifest says of its batch; in the query, for one that is lines.
MANIFEST_OPTIONS: Final = _manifest_options()


def _manifest() -> Json:
    url: Json = {"type": "string", "minLength": 1, "maxLength": 2048}
    alone = {**url, "description": "The url alone."}
    return {
        "BatchId": {"type": "string", "pattern": "^[a-z0-9](?:[a-z0-9-]{0,62})$"},
        "ManifestImage": _object(
            ["url"],
            {"id": {"type": "string", "maxLength": 256}, "url": url},
            description="An image, with an id if wanted.",
            additionalProperties=False,
        ),
        "Manifest": {
            "description": "A batch, with its images or with where they are listed.",
            "oneOf": _references("ManifestOfImages", "ManifestPointer"),
        },
        "ManifestOfImages": _manifest_with(
            "images",
            {
                "type": "array",
                "minItems": 1,
                "items": {"anyOf": [alone, {"$ref": "#/components/schemas/ManifestImage"}]},
            },
        ),
        "ManifestPointer": _manifest_with(
            "manifest",
            {
                "type": "string",
                "minLength": 1,
                "maxLength": 2048,
                "description": (
                    "Path of a blob in the container `manifests`, or the url of a blob of the app's own account; a url"
                    " that ends in a slash stands for every image under it."
                ),
            },
        ),
    }


def _manifest_with(name: str, schema: Json) -> Json:
    # One form beside the other: generators look at the properties or at `oneOf`, never at both.
    return _object(
        [name],
        {
            name: schema,
            **MANIFEST_OPTIONS,
            "parameters": {"$ref": "#/components/schemas/ScoreParameters"},
            # No `const`: of one that may be left out, openapi-python-client makes code that is no Python.
            "v": {"type": "integer", "enum": [1], "description": "Version of this form; may be left out."},
            "traceparent": {"type": "string", "description": "W3C trace context that the batch belongs to."},
        },
        additionalProperties=False,
    )


def _batch() -> Json:
    return {
        "Submission": _object(
            ["batch_id", "status_url"],
            {"batch_id": _BATCH_ID, "status_url": {"type": "string", "format": "uri-reference"}},
        ),
        "Batch": _object(
            ["batch_id", "state", "total", "succeeded", "failed", "pending", "errors", "created_at", "updated_at"],
            {
                "batch_id": _BATCH_ID,
                "state": {"type": "string", "enum": [state.value for state in BatchState]},
                "total": {**_COUNT, "description": "0 until the manifest was read."},
                "succeeded": _COUNT,
                "failed": _COUNT,
                "pending": _COUNT,
                "errors": {
                    "type": "object",
                    "description": "Failed images by code.",
                    "propertyNames": _CODE,
                    "additionalProperties": _COUNT,
                },
                "created_at": _TIME,
                "updated_at": _TIME,
                "round": {**_COUNT, "description": "The latest replay; 0 before the first."},
                "model": _TEXT,
                "version": _TEXT,
                "eta_seconds": {**_COUNT, "description": "Left, when that can be told."},
                "error": _object(
                    ["code", "message"],
                    {"code": _CODE, "message": _TEXT},
                    description="Why the manifest could not become a batch.",
                ),
                "links": {"type": "object", "additionalProperties": _TEXT},
            },
        ),
        "Batches": _object(
            ["batches"], {"batches": {"type": "array", "items": {"$ref": "#/components/schemas/Batch"}}}
        ),
    }


def _row() -> Json:
    shared: Json = {"index": _COUNT, "id": _TEXT, "url": _REDACTED_URL, "attempts": _COUNT}
    return {
        "ResultRow": {
            "description": "One line of results.jsonl, in manifest order.",
            "oneOf": _references("SucceededRow", "FailedRow"),
        },
        "SucceededRow": _object(
            [*shared, "status", "model", "version", "predictions"],
            {
                **shared,
                "status": {"const": "succeeded"},
                "model": _TEXT,
                "version": _TEXT,
                "predictions": {"$ref": "#/components/schemas/Predictions"},
            },
        ),
        "FailedRow": _object(
            [*shared, "status", "error"],
            {**shared, "status": {"const": "failed"}, "error": {"$ref": "#/components/schemas/Failure"}},
        ),
        "Failure": _object(
            ["code", "message", "retryable"],
            {"code": _CODE, "message": _TEXT, "retryable": {"type": "boolean"}},
            description="Why an image has no predictions.",
        ),
    }


def _dead_letter() -> Json:
    shared: Json = {
        "code": _CODE,
        "message": _TEXT,
        "attempts": _COUNT,
        "first_at": _TIME,
        "last_at": _TIME,
        "trace_id": _TEXT,
        "history": {"type": "array", "items": {"type": "object"}, "description": "Earlier failures."},
    }
    image = {
        "kind": {"const": "item"},
        "batch_id": _BATCH_ID,
        "index": _COUNT,
        "id": _TEXT,
        "url": _REDACTED_URL,
        **shared,
        "retryable": {"type": "boolean"},
        "model": _TEXT,
        "version": _TEXT,
        "sha256": _TEXT,
        "round": {**_COUNT, "description": "0 for the first run, then one for each replay."},
    }
    message = {
        "kind": {"const": "message"},
        "key": _TEXT,
        "batch_id": {"anyOf": [_BATCH_ID, {"type": "null"}]},
        "queue": _TEXT,
        **shared,
        "is_replayable": {"type": "boolean"},
        "is_replaying": {"type": "boolean"},
        "message_id": _TEXT,
        "body": _TEXT,
        "encoding": {"type": "string", "enum": ["utf-8", "base64"]},
    }
    return {
        "DeadLetter": {
            "description": "An image that could not be scored, or a message that could not be carried out.",
            "oneOf": _references("DeadImage", "DeadMessage"),
        },
        "DeadImage": _object([*image], image),
        "DeadMessage": _object([*message], message),
    }


def _dead_letters() -> Json:
    return {
        **_dead_letter(),
        "DeadLetters": _object(
            ["deadletters", "next"],
            {
                "deadletters": {"type": "array", "items": {"$ref": "#/components/schemas/DeadLetter"}},
                "next": {"type": ["string", "null"], "description": "Give it as `next` for the page after this."},
            },
        ),
        "Selection": _object(
            [],
            {
                "batch_id": _BATCH_ID,
                "code": _CODE,
                "since": {**_TIME, "description": "Only what failed at this time or later."},
                "limit": {"type": "integer", "minimum": 1, "description": "Dead letters at most."},
                "dry_run": {"type": "boolean", "default": False, "description": "Only count."},
            },
            additionalProperties=False,
        ),
        "Replay": _outcome("replayed"),
        "Purge": _outcome("purged"),
    }


def _outcome(counted: str) -> Json:
    batch_id: Json = {"type": "string", "description": "Empty for a message of no batch."}
    batch = _object(["batch_id", "round", "items"], {"batch_id": batch_id, "round": _COUNT, "items": _COUNT})
    return _object(
        [counted, "batches", "dry_run"],
        {counted: _COUNT, "batches": {"type": "array", "items": batch}, "dry_run": {"type": "boolean"}},
    )


def batch_schemas() -> Json:
    """Return the component schemas by name."""
    return {**_manifest(), **_batch(), **_row(), **_dead_letters()}
