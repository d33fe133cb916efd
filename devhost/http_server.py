"""Owns the HTTP face of the functions: authorises and routes a request, invokes the function, writes its reply.

The admin API and the landing page are other modules'; a request that no function answers is handed on.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from devhost import console
from devhost.binding_expressions import json_properties
from devhost.cors import CorsPolicy
from devhost.errors import HostNotRunning
from devhost.functions import Function
from devhost.invoker import Occasion
from devhost.keys import Keys
from devhost.messages import Outcome, Value
from devhost.routing import Match, Router

#: ScriptConstants.DefaultMaxRequestBodySize; FUNCTIONS_REQUEST_BODY_SIZE_LIMIT overrides it.
DEFAULT_BODY_LIMIT_BYTES = 104_857_600

#: The host writes its own framing of the body.
_FRAMING_HEADERS = frozenset({"content-length", "transfer-encoding", "connection"})

#: Kestrel refuses to send anything else in a header.
_SENDABLE_HEADER = re.compile(r"[\t\x20-\x7e]*\Z")

Invoke = Callable[[Function, Occasion], Awaitable[Outcome]]
Fallback = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class FunctionsHandler:
    """An aiohttp low-level handler: one call for each request."""

    def __init__(
        self,
        router: Router,
        invoke: Invoke,
        fallback: Fallback,
        *,
        keys: Keys | None,
        cors: CorsPolicy,
        body_limit_bytes: int = DEFAULT_BODY_LIMIT_BYTES,
    ) -> None:
        self._router = router
        self._invoke = invoke
        self._fallback = fallback
        self._keys = keys
        self._cors = cors
        self._body_limit_bytes = body_limit_bytes

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._cors.is_enabled and "Origin" in request.headers:
            preflight = self._cors.answer_preflight(request)
            response = preflight or await self._answer(request)
            self._cors.mark(request, response)
        else:
            response = await self._answer(request)
        response.headers.setdefault("Server", "Kestrel")
        return response

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if not all(map(_is_utf8, request.headers.values())):
            return web.Response(status=400)
        # An absolute-form target or an asterisk has no path to match.
        target = request.raw_path if request.raw_path.startswith("/") else request.path
        raw_path, _, _ = target.partition("?")
        match = None if raw_path.lower().startswith("/admin") else self._router.match(request.method, raw_path)
        if match is None:
            return await self._fallback(request)
        if self._keys is not None:
            key = presented_key(request)
            if not self._keys.opens(key, match.function.name, match.function.auth_level):
                return web.Response(status=401)
        if match.function.is_disabled:
            return web.Response(status=404)
        try:
            body = await self._read_body(request)
        except web.HTTPRequestEntityTooLarge:
            response = web.Response(status=413)
            response.force_close()
            return response
        return await self._run(request, match, target, body)

    async def _run(self, request: web.BaseRequest, match: Match, target: str, body: bytes) -> web.Response:
        occasion = make_occasion(request, match, target, body)
        try:
            outcome = await self._invoke(match.function, occasion)
        except HostNotRunning as error:
            return web.Response(status=503, text=str(error))
        if not outcome.succeeded:
            return web.Response(status=500)
        try:
            return make_response(reply_of(match.function, outcome))
        except ValueError as error:
            console.log(f"The reply of 'Functions.{match.function.name}' cannot be sent: {error}")
            return web.Response(status=500)

    async def _read_body(self, request: web.BaseRequest) -> bytes:
        if not request.body_exists:
            return b""
        if (request.content_length or 0) > self._body_limit_bytes:
            raise web.HTTPRequestEntityTooLarge(self._body_limit_bytes)
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await request.read()
        if request.content_length is None:
            # GrpcMessageConversionExtensions: the host forwards a body only when Content-Length is positive.
            console.log("A request body without Content-Length is not passed to the function, as on the real host.")
            return b""
        return body


def _is_utf8(value: str) -> bool:
    """Tell whether a header's value came as UTF-8, as Kestrel demands; aiohttp hands other bytes on as surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def presented_key(request: web.BaseRequest) -> str | None:
    """Return the key of a request: the header x-functions-key first, then `?code=`."""
    return request.headers.get("x-functions-key") or request.query.get("code") or None


def make_occasion(request: web.BaseRequest, match: Match, target: str, body: bytes) -> Occasion:
    """Make the trigger value of a request, as GrpcMessageConversionExtensions.ToRpcHttp does.

    Header names are lower-case; a repeated header or query parameter is joined with commas; an empty query parameter is
    left out.
    """
    headers = _joined((name.lower(), value) for name, value in request.headers.items())
    query = _joined(item for item in request.query.items() if item[1]) if "?" in target else {}
    data = {
        "method": request.method,
        "url": f"http://{request.host}{target}",
        "headers": headers,
        "params": dict(match.route_values),
        "query": query,
        "body": body,
    }
    function = match.function
    needs_binding_data = function.outputs or function.inputs
    return Occasion(
        value=Value("http", data),
        binding_data=_binding_data(data, match.route_values) if needs_binding_data else {},
        trace_parent=headers.get("traceparent", ""),
        trace_state=headers.get("tracestate", ""),
    )


def _binding_data(data: Mapping[str, Any], route_values: Mapping[str, str]) -> dict[str, Any]:
    named = {**json_properties(data["body"]), **data["query"], **route_values}
    return {**named, "query": data["query"], "headers": data["headers"]}


def _joined(pairs: Any) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, value in pairs:
        values[name] = f"{values[name]},{value}" if name in values else value
    return values


def reply_of(function: Function, outcome: Outcome) -> Value | None:
    """Find the HTTP reply among what a function gave: its return value, or its `http` output binding."""
    binding = next((b for b in function.bindings if b.type == "http"), None)
    if binding is None:
        return None
    return outcome.returned if binding.name == "$return" else outcome.outputs.get(binding.name)


def make_response(reply: Value | None) -> web.Response:
    """Make the response of a function's reply. Raises ValueError for a header that HTTP cannot carry."""
    if reply is None or reply.kind is None:
        return web.Response(status=204 if reply is None else 200)
    if reply.kind != "http":
        text = reply.data if isinstance(reply.data, bytes) else str(reply.data).encode()
        return web.Response(body=text, headers={"Content-Type": "text/plain; charset=utf-8"})
    headers = [(name, value) for name, value in reply.data["headers"].items() if name.lower() not in _FRAMING_HEADERS]
    headers += [("Set-Cookie", cookie) for cookie in reply.data["cookies"]]
    for name, value in headers:
        if not _SENDABLE_HEADER.match(f"{name}: {value}"):
            raise ValueError(f"invalid non-ASCII or control character in header {name!r}")
    return web.Response(status=reply.data["status"], headers=CIMultiDict(headers), body=reply.data["body"] or None)
