"""The error replies of the API, derived from the exception tree and the table of statuses.

It refuses to name a status or a code of its own, but for those two that the edge answers without an exception of the
tree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable
from http import HTTPStatus
from typing import Any

from inference import errors
from inference.errors import InferenceError
from inference.http.statuses import status_of

REQUEST_ID_HEADER = {"x-request-id": {"$ref": "#/components/headers/RequestId"}}

#: What loading a model raises: the repository may be in storage, its cache on a disk that is full.
LOADING: tuple[type[InferenceError], ...] = (
    errors.ModelUnavailable,
    errors.StorageUnavailable,
    errors.StorageForbidden,
    errors.InsufficientStorage,
)

#: What the edge answers when no exception of the tree says what happened: status, code, sentence, retryable.
_OF_THE_EDGE = (
    (500, "internal_error", "The service failed in a way it should not have: a bug.", False),
    (503, "misconfigured", "The service is not configured correctly; its log says why.", False),
)

#: What the Functions host answers, without a body: status, name, sentence.
_OF_THE_HOST = (
    (401, "KeyRefused", "The key is missing or wrong."),
    (414, "TargetTooLong", "The url, percent-encoded, is longer than 8 KiB."),
    (431, "HeadersTooLong", "The headers are longer than 32 KiB, or more than 100."),
)


def of_the_host() -> dict[str, Any]:
    """Return the response objects of what the Functions host answers, by name."""
    return {
        name: {"description": f"{sentence} The Functions host answers, without a body."}
        for _, name, sentence in _OF_THE_HOST
    }


def codes() -> list[dict[str, Any]]:
    """Return every code with its status, its sentence and whether trying again can help, by status."""
    table = [
        {
            "code": error.code,
            "status": status_of(error),
            "description": _sentence(error),
            "retryable": error.retryable,
        }
        for error in InferenceError.leaves()
    ]
    table += [
        {"code": code, "status": status, "description": sentence, "retryable": retryable}
        for status, code, sentence, retryable in _OF_THE_EDGE
    ]
    return sorted(table, key=lambda row: (row["status"], row["code"]))


def responses(raises: Iterable[type[InferenceError]], host: Container[int]) -> dict[str, Any]:
    """Return the response objects of these errors, one for each status, and those of the host's that are in `host`."""
    sentences: dict[int, dict[str, str]] = defaultdict(dict)
    for status, code, sentence, _ in _OF_THE_EDGE:
        sentences[status][code] = sentence
    # Any route answers the last one in the last moments of a process.
    kinds: tuple[type[InferenceError], ...] = (*raises, errors.ShuttingDown)
    for error in kinds:
        sentences[status_of(error)][error.code] = _sentence(error)
    found = {str(status): _response(status, by_code) for status, by_code in sentences.items()}
    refused = {str(status): name for status, name, _ in _OF_THE_HOST if status in host}
    return found | {status: {"$ref": f"#/components/responses/{name}"} for status, name in refused.items()}


def _response(status: int, by_code: dict[str, str]) -> dict[str, Any]:
    headers: dict[str, Any] = dict(REQUEST_ID_HEADER)
    if status in {429, 503}:
        headers["retry-after"] = {"$ref": "#/components/headers/RetryAfter"}
    reasons = "\n".join(f"- `{code}`: {sentence}" for code, sentence in sorted(by_code.items()))
    narrowed = {"properties": {"code": {"enum": sorted(by_code)}}}
    return {
        "description": f"{HTTPStatus(status).phrase}.\n\n{reasons}",
        "headers": headers,
        "content": {
            "application/json": {"schema": {"allOf": [{"$ref": "#/components/schemas/Error"}, narrowed]}},
        },
    }


def _sentence(error: type[InferenceError]) -> str:
    return (error.__doc__ or "").strip().splitlines()[0]
