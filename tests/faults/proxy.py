"""A reverse proxy in front of Azurite's blob and queue services: it breaks what rules say, and writes down the rest.

It keeps path, query, headers and Host as they came, so that shared-key signatures hold. It refuses to know what the
calls mean to the product; `tests.faults.tape` reads that out of them.
"""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

import aiohttp
from aiohttp import web
from yarl import URL

from tests.faults.tape import Call, Tape
from tests.hosting import DEADLINE_SECONDS

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
_ENDPOINT = re.compile(r"(Blob|Queue)Endpoint=(http://[^/;]+)")


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back to the client."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    #: Bytes of the body after which the connection breaks.
    cut_after: int | None = None


class Exchange:
    """One request under a fault's hands."""

    def __init__(self, proxy: FaultProxy, request: web.BaseRequest, call: Call, body: bytes) -> None:
        self.call = call
        self._proxy = proxy
        self._request = request
        self._body = body

    async def forward(self) -> Reply:
        """Let Azurite do what the request asks."""
        return await self._proxy.forward(self._request, self.call, self._body)


#: Returns what the client gets; None resets its connection.
type Fault = Callable[[Exchange], Awaitable[Reply | None]]


@dataclass(slots=True)
class Rule:
    """Which calls a fault meets: of those that match, after the first `skip`, the next `times` (None: all)."""

    fault: Fault
    #: Regular expressions: the whole of `METHOD service`, a part of path and query, a part of the message's text.
    operation: str = ".*"
    path: str = ""
    text: str = ""
    skip: int = 0
    times: int | None = 1
    hits: int = 0
    #: Set at each hit: `await rule.met.wait()` instead of sleeping.
    met: asyncio.Event = field(default_factory=asyncio.Event)

    def takes(self, call: Call) -> bool:
        """Tell whether the fault meets this call, and count it."""
        if self.times == 0 or not re.fullmatch(self.operation, f"{call.method} {call.service}"):
            return False
        if not re.search(self.path, call.target) or not re.search(self.text, call.text):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        self.hits += 1
        self.met.set()
        return True


class FaultProxy:
    """`async with FaultProxy(azurite) as proxy:`, then give the app `proxy.connection_string`."""

    def __init__(self, connection_string: str) -> None:
        self.connection_string = connection_string
        self.rules: list[Rule] = []
        self.tape = Tape()
        #: Calls that came, forwarded or not: the time of a random schedule.
        self.arrived = 0
        self._arrival = asyncio.Condition()
        self._runners: list[web.ServerRunner] = []
        self._client: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # Every connection is used once: an idle one that Azurite closes would be a fault that no rule asked for.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        self._client = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        for name, upstream in _ENDPOINT.findall(self.connection_string):
            # A client that dies does not take back what it has asked for: handlers run to their end.
            server = web.Server(self._answering(name.lower(), upstream), handler_cancellation=False)
            runner = web.ServerRunner(server, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._runners.append(runner)
            endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
            self.connection_string = self.connection_string.replace(upstream, endpoint)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for runner in self._runners:
            await runner.cleanup()
        assert self._client is not None
        await self._client.close()

    def add(self, fault: Fault, operation: str = ".*", **where: str | int | None) -> Rule:
        """Break calls from now on; see `Rule`."""
        rule = Rule(fault, operation, **where)  # type: ignore[arg-type] # the dataclass's own fields
        self.rules.append(rule)
        return rule

    def heal(self) -> None:
        """Break nothing any more."""
        self.rules.clear()

    async def wait_for_calls(self, count: int) -> None:
        """Return once so many more calls have come. Raises TimeoutError: hosts that live poll many times a second."""
        wanted = self.arrived + count
        async with asyncio.timeout(DEADLINE_SECONDS), self._arrival:
            await self._arrival.wait_for(lambda: self.arrived >= wanted)

    def _answering(self, service: str, upstream: str) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            body = await request.content.read()  # unlike request.read(), of any length
            call = self.tape.begin(service, upstream, request.method, request.raw_path, request.headers, body)
            async with self._arrival:
                self.arrived += 1
                self._arrival.notify_all()
            exchange = Exchange(self, request, call, body)
            rule = next((rule for rule in [*self.rules] if rule.takes(call)), None)
            reply = await (rule.fault(exchange) if rule else exchange.forward())
            return await _send(request, reply)

        return answer

    async def forward(self, request: web.BaseRequest, call: Call, body: bytes) -> Reply:
        """Pass a request on and write its reply down; 503 while Azurite is not there."""
        assert self._client is not None
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP]
        url = URL(call.upstream + call.target, encoded=True)
        data = io.BytesIO(body) if body else body  # aiohttp warns of a long body in one piece
        skipped = {"User-Agent", "Accept", "Accept-Encoding", "Content-Type"}
        try:
            async with self._client.request(
                request.method, url, headers=headers, data=data, skip_auto_headers=skipped, allow_redirects=False
            ) as response:
                content = await response.read()
                kept = {name: value for name, value in response.headers.items() if name.lower() not in _HOP_BY_HOP}
                if request.method == "HEAD":
                    kept["Content-Length"] = response.headers.get("Content-Length", "0")
                self.tape.end(call, response.status, response.headers, content)
                return Reply(response.status, kept, content)
        except aiohttp.ClientError:
            return error_reply(503, "ServerBusy")


async def _send(request: web.BaseRequest, reply: Reply | None) -> web.StreamResponse:
    transport = request.transport
    if reply is None:
        if transport is not None:
            transport.abort()
        return web.Response(status=500)
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    if request.method != "HEAD":
        response.content_length = len(reply.body)
    with suppress(ConnectionError):  # the client died meanwhile, as tests make it
        await response.prepare(request)
        if request.method != "HEAD":
            await response.write(reply.body[: reply.cut_after])
    if reply.cut_after is not None and transport is not None:
        transport.abort()
    return response


def error_reply(status: int, code: str, **headers: str) -> Reply:
    """Return an error as Azure Storage sends it."""
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>A test.</Message></Error>'
    return Reply(status, {"x-ms-error-code": code, "Content-Type": "application/xml", **headers}, body.encode())


def answer(status: int, code: str, *, retry_after: int | None = None) -> Fault:
    """Answer with an error instead of Azurite."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}

    async def fault(_: Exchange) -> Reply:
        return error_reply(status, code, **headers)

    return fault


async def reset_before(_: Exchange) -> None:
    """Break the connection; Azurite never heard of it."""


async def reset_after(exchange: Exchange) -> None:
    """Let it be done, and break the connection instead of saying so."""
    await exchange.forward()


async def truncate(exchange: Exchange) -> Reply:
    """Let it be done, and break the connection half way through the reply."""
    reply = await exchange.forward()
    return Reply(reply.status, reply.headers, reply.body, cut_after=len(reply.body) // 2)


async def duplicate(exchange: Exchange) -> Reply:
    """Let it be done twice, and give the first reply."""
    reply = await exchange.forward()
    await exchange.forward()
    return reply


def hold(until: asyncio.Event, *, is_done_first: bool = False) -> Fault:
    """Wait for an event, before Azurite hears of it or after."""

    async def fault(exchange: Exchange) -> Reply:
        reply = await exchange.forward() if is_done_first else None
        await until.wait()
        return reply or await exchange.forward()

    return fault


def delay(seconds: float) -> Fault:
    """Be slow."""

    async def fault(exchange: Exchange) -> Reply:
        await asyncio.sleep(seconds)
        return await exchange.forward()

    return fault
