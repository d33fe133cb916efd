"""What a request and a response are to this package; it refuses to know azure.functions."""

from __future__ import annotations

import codecs
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from msgspec import Struct, field


class Request(Struct, frozen=True):
    """One HTTP request; header names are lower-case."""

    method: str
    #: Scheme, host and path prefix as the caller sees them (`https://app.example/api`), for links.
    base_url: str
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    #: Taken from `x-request-id` or made by the edge.
    id: str = ""

    @property
    def media_type(self) -> str:
        """The content type without its parameters, lower-case; empty when there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def says_nothing_of_its_type(self) -> bool:
        """Whether the content type is missing, or what curl says of any `-d` and `--data-binary` by itself."""
        return self.media_type in ("", "application/x-www-form-urlencoded")

    @property
    def is_json(self) -> bool:
        """Whether the body is said to be JSON or, where nothing is said, begins like an object."""
        if self.says_nothing_of_its_type:
            return self.body.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"{"
        return self.media_type == "application/json" or self.media_type.endswith("+json")


class Response(Struct, frozen=True):
    """One HTTP response."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


type Handler = Callable[[Request], Awaitable[Response]]


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return `value` as JSON."""
    body = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    return Response(status, body, {"content-type": "application/json", **(headers or {})})
