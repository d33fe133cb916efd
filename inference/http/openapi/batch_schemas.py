"""Schemas of manifests, batches, result rows and dead letters."""

from __future__ import annotations

from typing import Any

from inference.settings import BatchSettings

type Json = dict[str, Any]

_COUNT: Json = {"type": "integer", "minimum": 0}
_TIME: Json = {"type": "string", "format": "date-time"}
_TEXT: Json = {"type": "string"}
_BATCH_ID: Json = {"$ref": "#/components/schemas/BatchId"}
_CODE: Json = {"$ref": "#/components/schemas/ErrorCode"}
_REDACTED_URL: Json = {"type": "string", "description": "Without user, password and query."}


def _object(required: list[str], properties: Json, **more: Any) -> Json:
    return {"type": "object", "required": required, "properties": properties, **more}


def _manifest() -> Json:
    defaults = BatchSettings()
    image = {
        "anyOf": [
            {"type": "string", "maxLength": 2048, "description": "The url alone."},
            _object(
                ["url"],
                {"id": {"type": "string", "maxLength": 256}, "url": {"type": "string", "maxLength": 2048}},
                additionalProperties=False,
            ),
        ]
    }
    return {
        "BatchId": {"type": "string", "pattern": "^[a-z0-9](?:[a-z0-9-]{0,62})$"},
        "Manifest": _object(
            [],
            {
                "batch_id": {**_BATCH_ID, "description": "Made when it is left out."},
                "model": {"type": "string", "description": "NAME or NAME:VERSION; the default model when left out."},
                "images": {"type": "array", "minItems": 1, "items": image},
                "manifest": {
                    "type": "string",
                    "description": "Instead of images: path of a blob in the container `manifests`, or its url.",
                },
                "parameters": {"$ref": "#/components/schemas/ScoreParameters"},
                "mini_batch_size": {"type": "integer", "minimum": 1, "description": "Images in one shard."},
                "error_threshold": {
                    "type": "integer",
                    "minimum": -1,
                    "description": "Failed images that the batch may have and still succeed; -1 is any number.",
                },
                "max_retries": {
                    "type": "integer",
                    "minimum": 0,
                    "description": f"Further attempts at an image; {defaults.max_attempts - 1} by default.",
                },
            },
            oneOf=[{"required": ["images"]}, {"required": ["manifest"]}],
            additionalProperties=False,
        ),
    }


def _batch() -> Json:
    return {
        "Submission": _object(
            ["batch_id", "status_url"], {"batch_id": _BATCH_ID, "status_url": {"type": "string", "format": "uri"}}
        ),
        "Batch": _object(
            ["batch_id", "state", "total", "succeeded", "failed", "pending", "errors", "created_at", "updated_at"],
            {
                "batch_id": _BATCH_ID,
                "state": {"type": "string", "enum": ["queued", "running", "succeeded", "failed", "cancelled"]},
                "total": _COUNT,
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
                "eta_seconds": {"type": ["number", "null"], "minimum": 0, "description": "When it can be told."},
                "links": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        ),
        "Batches": _object(
            ["batches"], {"batches": {"type": "array", "items": {"$ref": "#/components/schemas/Batch"}}}
        ),
    }


def _row() -> Json:
    shared: Json = {"index": _COUNT, "id": _TEXT, "url": _REDACTED_URL, "attempts": _COUNT}
    failure = _object(
        ["code", "message", "retryable"], {"code": _CODE, "message": _TEXT, "retryable": {"type": "boolean"}}
    )
    return {
        "ResultRow": {
            "description": "One line of results.jsonl, in manifest order.",
            "oneOf": [
                _object(
                    [*shared, "status", "model", "version", "predictions"],
                    {
                        **shared,
                        "status": {"const": "succeeded"},
                        "model": _TEXT,
                        "version": _TEXT,
                        "predictions": {"$ref": "#/components/schemas/Predictions"},
                    },
                ),
                _object([*shared, "status", "error"], {**shared, "status": {"const": "failed"}, "error": failure}),
            ],
        }
    }


def _dead_letters() -> Json:
    selection: Json = {
        "batch_id": _BATCH_ID,
        "code": _CODE,
        "since": {**_TIME, "description": "Only what failed at this time or later."},
        "limit": {"type": "integer", "minimum": 1, "description": "Images at most."},
    }
    return {
        "DeadLetter": _object(
            ["batch_id", "index", "id", "url", "code", "message", "attempts"],
            {
                "batch_id": _BATCH_ID,
                "index": _COUNT,
                "id": _TEXT,
                "url": _REDACTED_URL,
                "code": _CODE,
                "message": _TEXT,
                "attempts": _COUNT,
                "first_at": _TIME,
                "last_at": _TIME,
                "model": _TEXT,
                "version": _TEXT,
                "trace_id": {"type": ["string", "null"]},
                "round": {**_COUNT, "description": "0 for the first run, then one for each replay."},
                "history": {"type": "array", "items": {"type": "object"}, "description": "Earlier rounds."},
            },
        ),
        "DeadLetters": _object(
            ["deadletters"],
            {
                "deadletters": {"type": "array", "items": {"$ref": "#/components/schemas/DeadLetter"}},
                "next": {"type": ["string", "null"], "description": "Give it as `next` for the page after this."},
            },
        ),
        "Selection": _object(
            [],
            {**selection, "dry_run": {"type": "boolean", "default": False, "description": "Only count."}},
            additionalProperties=False,
        ),
        "Replay": _outcome("replayed"),
        "Purge": _outcome("purged"),
    }


def _outcome(counted: str) -> Json:
    batch = _object(["batch_id", "items"], {"batch_id": _BATCH_ID, "round": _COUNT, "items": _COUNT})
    return _object(
        [counted, "batches", "dry_run"],
        {counted: _COUNT, "batches": {"type": "array", "items": batch}, "dry_run": {"type": "boolean"}},
    )


def batch_schemas() -> Json:
    """Return the component schemas by name."""
    return {**_manifest(), **_batch(), **_row(), **_dead_letters()}
