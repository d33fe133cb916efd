"""One operation as OpenAPI describes it: what it takes, what it replies and which errors it can raise.

It refuses to know any particular route.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from inference.errors import InferenceError
from inference.http.openapi import failures

type Json = dict[str, Any]


class Operation(Struct, frozen=True):
    """One method of one route."""

    id: str
    method: str
    #: As in function_app.py, below the prefix: `/batches/{batch_id}`.
    path: str
    tag: str
    summary: str
    replies: Mapping[int, Json]
    description: str = ""
    #: Whether the Functions host lets it through without a key.
    is_anonymous: bool = False
    #: Whether it asks for the master key, as what changes the service for everybody does.
    is_admin: bool = False
    parameters: Sequence[Json] = ()
    #: Media type → media type object; None when it takes no body.
    body: Mapping[str, Json] | None = None
    is_body_required: bool = True
    #: The errors it raises, exactly these.
    raises: Sequence[type[InferenceError]] = field(default=())

    def describe(self) -> Json:
        """Return the operation object."""
        described: Json = {"operationId": self.id, "tags": [self.tag], "summary": self.summary}
        if self.description:
            described["description"] = self.description
        parameters = self._parameters()
        if parameters:
            described["parameters"] = parameters
        if self.body is not None:
            described["requestBody"] = {"required": self.is_body_required, "content": dict(self.body)}
        described["responses"] = self._responses()
        key = "masterKey" if self.is_admin else "functionKey"
        described["security"] = [] if self.is_anonymous else [{key: []}]
        return described

    def _parameters(self) -> list[Json]:
        return [*(path_parameter(name) for name in _names_in(self.path)), *self.parameters]

    def _host_statuses(self) -> set[int]:
        """What the Functions host may answer: without a key, and to values that make a url or headers too long."""
        places = {parameter["in"] for parameter in self._parameters()}
        statuses = {414 if place in ("path", "query") else 431 for place in places}
        return statuses if self.is_anonymous else statuses | {401}

    def _responses(self) -> Json:
        responses = {
            str(status): {**reply, "headers": {**failures.REQUEST_ID_HEADER, **reply.get("headers", {})}}
            for status, reply in self.replies.items()
        }
        for status, response in failures.responses(self.raises, self._host_statuses()).items():
            responses.setdefault(status, response)
        return dict(sorted(responses.items()))


def _names_in(path: str) -> list[str]:
    return [segment[1:-1] for segment in path.split("/") if segment.startswith("{")]


_PATH_PARAMETERS: Mapping[str, tuple[str, str]] = {
    "model": ("digits", "Name of a model in the repository."),
    "version": ("1", "Number of a published version of the model."),
    "batch_id": ("digits-2026-01", "Id of a batch."),
}


def path_parameter(name: str) -> Json:
    """Return the parameter object of one `{name}` in a path."""
    example, description = _PATH_PARAMETERS[name]
    schema: Json = {"$ref": "#/components/schemas/BatchId"} if name == "batch_id" else {"type": "string"}
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": schema,
        "example": example,
    }


def query_parameter(name: str, schema: Json, description: str, *, required: bool = False) -> Json:
    """Return the parameter object of one query parameter."""
    return {"name": name, "in": "query", "required": required, "description": description, "schema": schema}


def header_parameter(name: str, description: str) -> Json:
    """Return the parameter object of one header that may be sent."""
    return {"name": name, "in": "header", "required": False, "description": description, "schema": {"type": "string"}}


def binary(media_type: str) -> Json:
    """Return the schema of bytes: `format` is what generators of clients look at, the rest is JSON Schema's own."""
    return {"type": "string", "format": "binary", "contentMediaType": media_type}


def reply(description: str, schema: str, **more: Any) -> Json:
    """Return the response object of a JSON reply; `schema` names a component, `example` and `links` may be added."""
    media: Json = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    for key in ("example", "examples"):
        if key in more:
            media[key] = more.pop(key)
    return {"description": description, "content": {"application/json": media}, **more}
