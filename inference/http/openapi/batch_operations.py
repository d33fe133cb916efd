"""The batch and dead-letter routes, as operations with the links between them."""

from __future__ import annotations

from inference import errors
from inference.http.openapi import examples
from inference.http.openapi.batch_schemas import MANIFEST_OPTIONS
from inference.http.openapi.operation import Json, Operation, binary, header_parameter, query_parameter, reply
from inference.http.queries import MAX_COUNT

_STORAGE = (errors.StorageUnavailable, errors.StorageForbidden)
_ONE_BATCH = (errors.BatchNotFound, *_STORAGE)
_SELECTING = (errors.InvalidRequest, errors.PayloadTooLarge, errors.UnsupportedMediaType, *_STORAGE)
_CODE: Json = {"$ref": "#/components/schemas/ErrorCode"}
_BATCH_ID: Json = {"$ref": "#/components/schemas/BatchId"}


def _link(operation: str, description: str, batch_id: str) -> Json:
    return {"operationId": operation, "parameters": {"batch_id": batch_id}, "description": description}


def _links_from(batch_id: str) -> Json:
    return {
        "status": _link("batch_status", "How far it is.", batch_id),
        "results": _link("batch_results", "Its rows, once it has ended.", batch_id),
        "cancel": _link("cancel_batch", "End it early.", batch_id),
        "deadletters": _link("list_dead_letters", "Its failed images, with reasons.", batch_id),
        # An expression within a body is none (OpenAPI, "Link Object"), and generators refuse a body that is no text.
        "replay": {
            "operationId": "replay_dead_letters",
            "description": "Try its failed images again: its `batch_id` goes into the body.",
        },
    }


def _line_body(media_type: str, example: str) -> Json:
    return {media_type: {"schema": {"type": "string"}, "example": example}}


def _lines(line: str, description: str) -> Json:
    """Return the schema of JSON Lines. To generators a text of another type than `text/*` is a file: it is binary."""
    return {
        "type": "string",
        "format": "binary",
        "description": description,
        "contentMediaType": "application/x-ndjson",
        "contentSchema": {"$ref": f"#/components/schemas/{line}"},
    }


_SUBMIT_BODY: Json = {
    "application/json": {"schema": {"$ref": "#/components/schemas/Manifest"}, "example": examples.MANIFEST},
    **_line_body("application/x-ndjson", examples.MANIFEST_LINES),
    **_line_body("text/csv", examples.MANIFEST_CSV),
    **_line_body("text/plain", examples.MANIFEST_URLS),
    "application/gzip": {"schema": binary("application/gzip")},
}


def _option(name: str) -> Json:
    # Without a default: clients send it, and what a manifest of JSON says too is refused.
    return {keyword: value for keyword, value in MANIFEST_OPTIONS[name].items() if keyword != "default"}


_OPTIONS = tuple(
    query_parameter(name, _option(name), f"{what}; for manifests of lines, which cannot say it themselves.")
    for name, what in (
        ("batch_id", "Id of the batch"),
        ("model", "NAME or NAME:VERSION"),
        ("mini_batch_size", "Images in one shard"),
        ("error_threshold", "Failed images that are put up with, -1 for any"),
        ("max_retries", "Further attempts at an image"),
        ("callback_url", "Where to POST how the batch ended"),
    )
)
_LIMIT: Json = {"type": "integer", "minimum": 1, "maximum": MAX_COUNT}
_FILTERS = (
    query_parameter("batch_id", _BATCH_ID, "Only this batch."),
    query_parameter("code", _CODE, "Only failures with this code."),
    query_parameter("since", {"type": "string", "format": "date-time"}, "Only what failed at this time or later."),
    query_parameter("limit", _LIMIT, "Records at most; a page has 1,000 of them at most."),
)
_SELECTION: Json = {
    "application/json": {"schema": {"$ref": "#/components/schemas/Selection"}, "example": examples.SELECTION}
}

_BATCHES = (
    Operation(
        id="submit_batch",
        method="POST",
        path="/batches",
        tag="Batches",
        summary="Submit a manifest",
        description=(
            "The manifest is a JSON object, or lines: JSON Lines (an object or a url on each), CSV with a header"
            " (`url`, and `id` if wanted) or plain urls, perhaps gzip. It is checked before the reply, but for what a"
            " pointer points to. The same id with the same content is the same batch."
        ),
        parameters=_OPTIONS,
        body=_SUBMIT_BODY,
        replies={
            202: reply(
                "Taken.",
                "Submission",
                headers={"location": {"description": "The status url.", "schema": {"type": "string"}}},
                example={
                    "batch_id": "digits-2026-01",
                    "status_url": "http://localhost:7071/api/batches/digits-2026-01",
                },
                links=_links_from("$response.body#/batch_id"),
            )
        },
        raises=(
            errors.InvalidRequest,
            errors.InvalidManifest,
            errors.PayloadTooLarge,
            errors.UnsupportedMediaType,
            errors.ManifestNotFound,
            errors.ModelNotFound,
            errors.ModelVersionNotFound,
            errors.ModelUnavailable,
            errors.BatchConflict,
            *_STORAGE,
        ),
    ),
    Operation(
        id="list_batches",
        method="GET",
        path="/batches",
        tag="Batches",
        summary="List the batches",
        parameters=(query_parameter("limit", _LIMIT, "Batches at most; 100 of them at most."),),
        replies={200: reply("The newest first.", "Batches", example={"batches": [examples.BATCH]})},
        raises=(errors.InvalidRequest, *_STORAGE),
    ),
    Operation(
        id="batch_status",
        method="GET",
        path="/batches/{batch_id}",
        tag="Batches",
        summary="Tell how far a batch is",
        description="`succeeded` means that all images have final rows; failed ones are allowed up to error_threshold.",
        replies={
            200: reply("The status.", "Batch", example=examples.BATCH, links=_links_from("$request.path.batch_id"))
        },
        raises=_ONE_BATCH,
    ),
    Operation(
        id="batch_results",
        method="GET",
        path="/batches/{batch_id}/results",
        tag="Batches",
        summary="Download the results",
        description=(
            "One row for each image, in manifest order. JSON Lines of any length can be read in ranges (RFC 9110): send"
            " `If-Range` with the first part's `ETag`, and mind `Content-Range`: a part may be shorter than asked for."
        ),
        parameters=(
            query_parameter("format", {"type": "string", "enum": ["jsonl", "csv"], "default": "jsonl"}, "Of the rows."),
            header_parameter("range", "Of the JSON Lines, for instance `bytes=0-33554431`."),
            header_parameter("if-range", "The `ETag` of a part that was read before."),
        ),
        replies={
            200: {
                "description": "The rows.",
                "content": {
                    "application/x-ndjson": {
                        "schema": _lines("ResultRow", "A row in JSON on each line."),
                        "example": examples.ROWS,
                    },
                    "text/csv": {"schema": {"type": "string"}},
                },
            },
            206: {
                "description": "The range of the JSON Lines that `Content-Range` names.",
                "headers": {name: {"schema": {"type": "string"}} for name in ("Content-Range", "ETag")},
                "content": {"application/x-ndjson": {"schema": binary("application/x-ndjson")}},
            },
        },
        raises=(errors.InvalidRequest, errors.NotFound, errors.BatchNotFound, errors.PayloadTooLarge, *_STORAGE),
    ),
    Operation(
        id="cancel_batch",
        method="DELETE",
        path="/batches/{batch_id}",
        tag="Batches",
        summary="Cancel a batch",
        description="Images that are not scored yet end as `batch_cancelled`; replaying these resumes the batch.",
        replies={202: reply("It is ending.", "Batch", example={**examples.BATCH, "state": "cancelled"})},
        raises=(errors.InvalidRequest, *_ONE_BATCH),
    ),
)

_DEAD_LETTERS = (
    Operation(
        id="list_dead_letters",
        method="GET",
        path="/deadletters",
        tag="Dead letters",
        summary="List failed images with their reasons",
        parameters=(*_FILTERS, query_parameter("next", {"type": "string"}, "`next` of the page before.")),
        replies={
            200: reply(
                "A page of records.", "DeadLetters", example={"deadletters": [examples.DEAD_LETTER], "next": None}
            )
        },
        raises=(errors.InvalidRequest, *_STORAGE),
    ),
    Operation(
        id="export_dead_letters",
        method="GET",
        path="/deadletters/export",
        tag="Dead letters",
        summary="Export failed images as a manifest",
        parameters=_FILTERS,
        replies={
            200: {
                "description": "A manifest that can be submitted.",
                "content": {
                    "application/x-ndjson": {
                        "schema": _lines("ManifestImage", "An image in JSON on each line."),
                        "example": examples.EXPORT,
                    }
                },
            }
        },
        raises=(errors.InvalidRequest, errors.ManifestNotFound, errors.PayloadTooLarge, *_STORAGE),
    ),
    Operation(
        id="replay_dead_letters",
        method="POST",
        path="/deadletters/replay",
        tag="Dead letters",
        summary="Try failed images again",
        description=(
            "Re-opens just the selected images; rows that succeeded are not touched, and the results are written anew"
            " when the replay ends. Replaying twice changes nothing more."
        ),
        body=_SELECTION,
        is_body_required=False,
        replies={
            202: reply("What is tried again, or would be.", "Replay", example=examples.outcome("replayed")),
        },
        raises=_SELECTING,
    ),
    Operation(
        id="purge_dead_letters",
        method="POST",
        path="/deadletters/purge",
        tag="Dead letters",
        summary="Forget failed images",
        description="The rows stay failed; they can no longer be replayed.",
        body=_SELECTION,
        is_body_required=False,
        replies={200: reply("What is forgotten, or would be.", "Purge", example=examples.outcome("purged"))},
        raises=_SELECTING,
    ),
)

OPERATIONS = (*_BATCHES, *_DEAD_LETTERS)
