"""Origins under a test's control: an HTTP server that answers, misbehaves and counts, and listeners that do less.

They serve nothing that a test did not put there.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Self

from aiohttp import web

from inference.settings import Network


@dataclass(frozen=True)
class Reply:
    """One answer of an `Origin`; at most one way of misbehaving at a time."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Answer only once this is set.
    hold: asyncio.Event | None = None
    #: Send headers and half of the body, and the rest only once this is set.
    hold_body: asyncio.Event | None = None
    #: Send a byte of the body at a time, with this pause between.
    drip_seconds: float | None = None
    #: Seconds before the first byte.
    pause_seconds: float = 0.0
    #: Close the connection in order, or reset it, after this many bytes of the body.
    close_after: int | None = None
    reset_after: int | None = None


@dataclass(frozen=True)
class Request:
    """One request as it came over the wire."""

    #: Path and query, byte for byte.
    target: str
    headers: Mapping[str, str]
    #: The client's address and port, so that a test can tell one connection from another.
    peer: tuple[str, int]
    method: str = "GET"
    body: bytes = b""


class Origin:
    """A web server on a loopback port: `async with Origin() as origin: url = origin.serve("/a.png", data)`."""

    def __init__(self, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.host = host
        self.port = 0
        #: Requests by path.
        self.hits: Counter[str] = Counter()
        self.requests: list[Request] = []
        #: Requests being answered now, and the most there were at once.
        self.active = 0
        self.peak = 0
        #: Set at every request: `await origin.asked.wait()` instead of sleeping.
        self.asked = asyncio.Event()
        self._scheme = "http" if tls is None else "https"
        self._tls = tls
        self._replies: defaultdict[str, list[Reply]] = defaultdict(list)
        self._runner: web.ServerRunner | None = None

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(web.Server(self._answer), handler_cancellation=True, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self.port, ssl_context=self._tls).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def allow(self) -> Network:
        """The entry of INFERENCE_FETCH_ALLOW that opens this origin and nothing else."""
        return Network(ip_network(self.host), self.port)

    def url(self, path: str, *, host: str | None = None) -> str:
        """Return the url of `path` here, under another name for this address if given."""
        host = host or (f"[{self.host}]" if ":" in self.host else self.host)
        return f"{self._scheme}://{host}:{self.port}{path}"

    def serve(self, path: str, body: bytes, content_type: str = "image/png") -> str:
        """Answer `path` with `body` from now on; return its url."""
        return self.answer(path, Reply(body=body, headers={"Content-Type": content_type}))

    def redirect(self, path: str, location: str | None, status: int = 302) -> str:
        """Answer `path` with a redirect from now on; return its url."""
        return self.answer(path, Reply(status=status, headers={} if location is None else {"Location": location}))

    def answer(self, path: str, *replies: Reply) -> str:
        """Answer `path` with `replies` one after the other, the last one for good; return its url."""
        self._replies[path] = list(replies)
        return self.url(path)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        self.hits[path] += 1
        assert request.transport is not None
        peer = request.transport.get_extra_info("peername")
        body = await request.read()
        self.requests.append(Request(request.raw_path, dict(request.headers), peer[:2], request.method, body))
        self.asked.set()
        self.active += 1
        self.peak = max(self.peak, self.active)
        try:
            return await self._send(request, self._next_reply(path))
        finally:
            self.active -= 1

    def _next_reply(self, path: str) -> Reply:
        replies = self._replies.get(path, [Reply(status=404)])
        return replies.pop(0) if len(replies) > 1 else replies[0]

    async def _send(self, request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
        if reply.hold is not None:
            await reply.hold.wait()
        await asyncio.sleep(reply.pause_seconds)
        response = web.StreamResponse(status=reply.status, headers=reply.headers)
        if "Content-Length" not in response.headers and "Transfer-Encoding" not in response.headers:
            response.content_length = len(reply.body)
        await response.prepare(request)
        await _send_body(request, response, reply)
        return response


async def _send_body(request: web.BaseRequest, response: web.StreamResponse, reply: Reply) -> None:
    assert request.transport is not None
    if reply.drip_seconds is not None:
        for position in range(len(reply.body)):
            await response.write(reply.body[position : position + 1])
            await asyncio.sleep(reply.drip_seconds)
    elif reply.hold_body is not None:
        await response.write(reply.body[: len(reply.body) // 2])
        await reply.hold_body.wait()
        await response.write(reply.body[len(reply.body) // 2 :])
    elif reply.close_after is not None:
        await response.write(reply.body[: reply.close_after])
        request.transport.close()
    elif reply.reset_after is not None:
        await response.write(reply.body[: reply.reset_after])
        _reset(request.transport)
    else:
        await response.write(reply.body)


def _reset(transport: asyncio.BaseTransport) -> None:
    """Close with RST instead of FIN: lingering for zero seconds discards what is not sent yet (socket(7))."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert isinstance(transport, asyncio.Transport)
    transport.abort()


@dataclass
class Listener:
    """A port, and how often somebody connected to it."""

    port: int
    connections: int = 0

    @property
    def allow(self) -> Network:
        """The entry of INFERENCE_FETCH_ALLOW that opens this port of 127.0.0.1."""
        return Network(ip_network("127.0.0.1"), self.port)

    def url(self, path: str) -> str:
        """Return the url of `path` here."""
        return f"http://127.0.0.1:{self.port}{path}"


@asynccontextmanager
async def canary(host: str = "0.0.0.0") -> AsyncIterator[Listener]:  # noqa: S104 - the whole loopback network
    """Listen on a port of `host` (by default of every loopback address), count connections, and hang up on them."""
    async with answering(b"", host=host) as listener:
        yield listener


@asynccontextmanager
async def answering(
    answer: bytes, *, host: str = "127.0.0.1", hold: asyncio.Event | None = None
) -> AsyncIterator[Listener]:
    """Answer every connection with exactly these bytes, HTTP or not, once its request is in; hang up after `hold`."""
    listener = Listener(port=0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        listener.connections += 1
        try:
            if answer:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answer)
                await writer.drain()
            if hold is not None:
                await hold.wait()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client left, as clients may
        finally:
            writer.close()

    server = await asyncio.start_server(serve, host, 0)
    listener.port = server.sockets[0].getsockname()[1]
    try:
        yield listener
    finally:
        server.close()
        server.close_clients()
        await server.wait_closed()
