"""The whole description: every operation with the schemas, headers and replies they share.

It refuses to describe what function_app.py does not serve; a test holds the two together, both ways.
"""

from __future__ import annotations

from typing import Any, Final

from inference.http.openapi import batch_operations, failures, oip_operations, score_operations, service_operations
from inference.http.openapi.batch_schemas import batch_schemas
from inference.http.openapi.oip_schemas import oip_schemas
from inference.http.openapi.operation import Operation
from inference.http.openapi.score_schemas import score_schemas

OPERATIONS: Final[tuple[Operation, ...]] = (
    *score_operations.OPERATIONS,
    *batch_operations.OPERATIONS,
    *oip_operations.OPERATIONS,
    *service_operations.OPERATIONS,
)

_TAGS = {
    "Score": "One image now, or several in one request.",
    "Models": "What is served.",
    "Batches": "A manifest of images, scored in the background; none of them is lost.",
    "Dead letters": "Why images failed, and how to try them again.",
    "Open Inference Protocol": "Tensors in and out, for clients of Triton, KServe and OpenVINO Model Server.",
    "Service": "Health, readiness, version and this description.",
}
_DESCRIPTION = (
    "Scores images with ONNX models: one now over HTTP, or millions from a manifest. Every error has the shape of the"
    " schema `Error`, and every reply carries `x-request-id`. A missing key (401), a route that does not exist (404),"
    " a url and headers that are too long (414, 431) are answered by the Functions host itself, without a body of ours."
)


def document(version: str, base_url: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the service of this `version`, reached at `base_url` (`https://host/api`).

    `x-error-codes` lists every code that an error reply or a failed row can carry.
    """
    return {
        "openapi": "3.1.0",
        "info": {"title": "ONNX Functions", "version": version, "description": _DESCRIPTION},
        "servers": [{"url": base_url}],
        "tags": [{"name": name, "description": description} for name, description in _TAGS.items()],
        "paths": _paths(),
        "components": {
            "schemas": {
                **score_schemas(),
                **batch_schemas(),
                **oip_schemas(),
                **service_operations.service_schemas(),
                **_error_schemas(),
            },
            "headers": _headers(),
            "responses": failures.of_the_host(),
            "securitySchemes": {
                "functionKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "x-functions-key",
                    "description": "A function or host key. Not asked for by a local host without `--enable-auth`.",
                },
                "masterKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "x-functions-key",
                    "description": "The master key of the app, for what changes the service for everybody.",
                },
            },
        },
        "x-error-codes": failures.codes(),
    }


def _paths() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = operation.describe()
    return paths


def _error_schemas() -> dict[str, Any]:
    return {
        "Error": {
            "type": "object",
            "required": ["error", "code", "request_id"],
            "properties": {
                "error": {"type": "string", "description": "One sentence for a reader."},
                "code": {"$ref": "#/components/schemas/ErrorCode"},
                "request_id": {"type": "string"},
            },
        },
        "ErrorCode": {
            "type": "string",
            "description": "Stable; `x-error-codes` tells what each means.",
            "enum": sorted({row["code"] for row in failures.codes()}),
        },
    }


def _headers() -> dict[str, Any]:
    return {
        "RequestId": {"description": "The request's own, or one that was made.", "schema": {"type": "string"}},
        "RetryAfter": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}},
    }
