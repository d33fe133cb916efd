"""A service on a real socket that answers what a test tells it to and remembers what it was asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Call:
    """One request that came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """One answer; a value that is not bytes is sent as JSON."""

    value: Any
    status: int = 200
    location: str = ""
    content_type: str = ""
    #: Bytes that are announced and never come: the connection is cut.
    missing_bytes: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        return self.value if isinstance(self.value, bytes) else json.dumps(self.value).encode()


def refusal(status: int, code: str, sentence: str = "It cannot be.") -> Reply:
    """Return the API's error shape."""
    return Reply({"error": sentence, "code": code, "request_id": "r"}, status)


@dataclass
class Service:
    """Its replies by method and path; a list of replies is used up but for its last one."""

    url: str = ""
    calls: list[Call] = field(default_factory=list)
    replies: dict[str, list[Reply]] = field(default_factory=dict)

    def answer(self, call: str, *replies: Reply | Any) -> None:
        """Answer `call` ("GET /api/models") with these replies, one after the other."""
        self.replies[call] = [reply if isinstance(reply, Reply) else Reply(reply) for reply in replies]

    def next_reply(self, call: Call) -> Reply:
        """Return the reply to `call`; the host's bare 404 when none was told."""
        replies = self.replies.get(f"{call.method} {call.path}", [Reply(b"", 404)])
        return replies.pop(0) if len(replies) > 1 else replies[0]


@contextmanager
def running_service() -> Iterator[Service]:
    """Run a service on a free port."""
    service = Service()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(service)) as server:
        service.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()


def _handler(service: Service) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _respond(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            call = Call(self.command, parts.path, dict(parse_qsl(parts.query)), headers, body)
            service.calls.append(call)
            reply = service.next_reply(call)
            self.send_response(reply.status)
            self.send_header("content-length", str(len(reply.body) + reply.missing_bytes))
            if reply.content_type:
                self.send_header("content-type", reply.content_type)
            if reply.location:
                self.send_header("location", reply.location)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_POST = do_PUT = do_DELETE = _respond  # noqa: N815 -- the library's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the library's name
            pass

    return Handler


type Program = Callable[..., Done]


@dataclass(frozen=True)
class Done:
    """How a run of the program ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, which must be one JSON document."""
        return json.loads(self.out)
