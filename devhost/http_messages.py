"""Owns what a request and a response are to the host's HTTP face; it refuses to know of sockets."""

import json
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote

from msgspec import Struct, field


class BodyTooLarge(Exception):
    """A request's body has more bytes than the host takes."""


class Request(Struct, eq=False, dict=True):
    """One request, whose body may be under way still."""

    method: str
    #: Percent-encoded: a path, without dot segments, with its query.
    target: str
    #: Lower-case names; what was repeated is joined with commas.
    headers: Mapping[str, str]
    #: Waits for the body. Raises BodyTooLarge; CancelledError when the client leaves before it is whole.
    read: Callable[[], Awaitable[bytes]]
    #: Whether the length of the body was told before it came.
    has_length: bool

    @property
    def raw_path(self) -> str:
        """The path, percent-encoded."""
        return self.target.partition("?")[0]

    @property
    def path(self) -> str:
        """The path, decoded."""
        return unquote(self.raw_path)

    @cached_property
    def query(self) -> list[tuple[str, str]]:
        """The query's parameters in order, decoded, empty ones too."""
        return parse_qsl(self.target.partition("?")[2], keep_blank_values=True)

    @property
    def url(self) -> str:
        """The whole url as the client sees it."""
        return f"http://{self.headers.get('host', '')}{self.target}"


class Response(Struct, eq=False):
    """One response; the server adds Date, Server and the framing of the body."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


type Handler = Callable[[Request], Awaitable[Response]]


def text_response(text: str, status: int = 200, content_type: str = "text/plain") -> Response:
    """Return `text` as UTF-8."""
    return Response(status, [("Content-Type", f"{content_type}; charset=utf-8")], text.encode())


def json_response(value: Any) -> Response:
    """Return `value` as JSON."""
    return text_response(json.dumps(value), content_type="application/json")
