"""Owns the HTTP face of the functions: authorises and routes a request, invokes the function, writes its reply.

The admin API and the landing page are other modules'; a request that no function answers is handed on.
"""

import re
from collections.abc import Mapping
from typing import Any

from devhost import console
from devhost.binding_expressions import json_properties
from devhost.cors import CorsPolicy
from devhost.errors import HostNotRunning
from devhost.functions import Function
from devhost.http_messages import BodyTooLarge, Handler, Request, Response, text_response
from devhost.invoker import Invoke, Occasion
from devhost.keys import Keys
from devhost.messages import Outcome, Value
from devhost.routing import Match, Router

#: ScriptConstants.DefaultMaxRequestBodySize; FUNCTIONS_REQUEST_BODY_SIZE_LIMIT overrides it.
DEFAULT_BODY_LIMIT_BYTES = 104_857_600

#: Kestrel refuses to send anything else in a header.
_SENDABLE_HEADER = re.compile(r"[\t\x20-\x7e]*\Z")


class FunctionsHandler:
    """Answers requests by functions, and what none of them answers by `fallback`."""

    def __init__(
        self, router: Router, invoke: Invoke, fallback: Handler, *, keys: Keys | None, cors: CorsPolicy
    ) -> None:
        self._router = router
        self._invoke = invoke
        self._fallback = fallback
        self._keys = keys
        self._cors = cors

    async def __call__(self, request: Request) -> Response:
        if not self._cors.is_enabled or "origin" not in request.headers:
            return await self._answer(request)
        response = self._cors.answer_preflight(request) or await self._answer(request)
        self._cors.mark(request, response)
        return response

    async def _answer(self, request: Request) -> Response:
        path = request.raw_path
        match = None if path.lower().startswith("/admin") else self._router.match(request.method, path)
        if match is None:
            return await self._fallback(request)
        if self._keys is not None:
            key = presented_key(request)
            if not self._keys.opens(key, match.function.name, match.function.auth_level):
                return Response(401)
        if match.function.is_disabled:
            return Response(404)
        try:
            body = await request.read()
        except BodyTooLarge:
            return Response(413)
        if body and not request.has_length:
            # GrpcMessageConversionExtensions: the host forwards a body only when Content-Length is positive.
            console.log("A request body without Content-Length is not passed to the function, as on the real host.")
            body = b""
        return await self._run(request, match, body)

    async def _run(self, request: Request, match: Match, body: bytes) -> Response:
        try:
            outcome = await self._invoke(match.function, make_occasion(request, match, body))
        except HostNotRunning as error:
            return text_response(str(error), 503)
        if not outcome.succeeded:
            return Response(500)
        try:
            return make_response(reply_of(match.function, outcome))
        except ValueError as error:
            console.log(f"The reply of 'Functions.{match.function.name}' cannot be sent: {error}")
            return Response(500)


def presented_key(request: Request) -> str | None:
    """Return the key of a request: the header x-functions-key first, then `?code=`."""
    key = request.headers.get("x-functions-key")
    return key or next((value for name, value in request.query if name.lower() == "code" and value), None)


def make_occasion(request: Request, match: Match, body: bytes) -> Occasion:
    """Make the trigger value of a request, as GrpcMessageConversionExtensions.ToRpcHttp does.

    Header names are lower-case; a repeated header or query parameter is joined with commas; an empty query parameter is
    left out. Query parameters that differ in case are one, as it was first written.
    """
    query: dict[str, str] = {}
    names: dict[str, str] = {}
    for written, value in request.query:
        name = names.setdefault(written.lower(), written)
        if value:
            query[name] = f"{query[name]},{value}" if name in query else value
    data = {
        "method": request.method,
        "url": request.url,
        "headers": request.headers,
        "params": dict(match.route_values),
        "query": query,
        "body": body,
    }
    function = match.function
    needs_binding_data = function.outputs or function.inputs
    return Occasion(
        value=Value("http", data),
        binding_data=_binding_data(data, match.route_values) if needs_binding_data else {},
        trace_parent=request.headers.get("traceparent", ""),
        trace_state=request.headers.get("tracestate", ""),
    )


def _binding_data(data: Mapping[str, Any], route_values: Mapping[str, str]) -> dict[str, Any]:
    named = {**json_properties(data["body"]), **data["query"], **route_values}
    return {**named, "query": data["query"], "headers": data["headers"]}


def reply_of(function: Function, outcome: Outcome) -> Value | None:
    """Find the HTTP reply among what a function gave: its return value, or its `http` output binding."""
    binding = next((b for b in function.bindings if b.type == "http"), None)
    if binding is None:
        return None
    return outcome.returned if binding.name == "$return" else outcome.outputs.get(binding.name)


def make_response(reply: Value | None) -> Response:
    """Make the response of a function's reply. Raises ValueError for a header that HTTP cannot carry."""
    if reply is None or reply.kind is None:
        return Response(204 if reply is None else 200)
    if reply.kind != "http":
        text = reply.data if isinstance(reply.data, bytes) else str(reply.data).encode()
        return Response(200, [("Content-Type", "text/plain; charset=utf-8")], text)
    headers = [*reply.data["headers"].items(), *(("Set-Cookie", cookie) for cookie in reply.data["cookies"])]
    for name, value in headers:
        if not _SENDABLE_HEADER.match(f"{name}: {value}"):
            raise ValueError(f"invalid non-ASCII or control character in header {name!r}")
    return Response(reply.data["status"], headers, reply.data["body"] or b"")
