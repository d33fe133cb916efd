"""The outermost layer of every route: request id, span, metric, and every error in the one shape.

It refuses to let an exception out: an unknown one is logged with its traceback, counted as our bug and answered 500
with nothing of itself in the body.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import re
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from msgspec.structs import replace
from opentelemetry.trace import SpanKind, get_current_span

from inference import telemetry
from inference.cancellation import has_caller_left
from inference.errors import InferenceError, InvalidRequest, SettingsError
from inference.http.messages import Handler, Request, Response, json_response
from inference.http.statuses import status_of

_log = logging.getLogger("inference.http")

#: What we echo: an id that could not split a header or a log line.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
#: A proxy may say of these what it likes.
_WITHOUT_BODY = frozenset({"GET", "HEAD"})
_CLIENT_REQUEST_ID = "x-ms-client-request-id"

#: host.json's routePrefix.
_PREFIX = "/api"


def base_url(url: str, headers: Mapping[str, str]) -> str:
    """Return scheme, host and prefix as the caller sees them: ingress ends TLS and says so in X-Forwarded-Proto.

    The prefix alone where the Host header makes no url.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return _PREFIX
    if not parts.netloc:
        return _PREFIX
    scheme = headers.get("x-forwarded-proto", parts.scheme).partition(",")[0].strip()
    return f"{scheme if scheme in ('http', 'https') else parts.scheme}://{parts.netloc}{_PREFIX}"


async def respond(route: str, handler: Handler, request: Request) -> Response:
    """Answer `request` by `handler`, whatever it raises."""
    request = replace(request, id=_request_id(request.headers))
    started = time.perf_counter()
    with telemetry.span(
        f"{request.method} {route}",
        # Where the host traces, its span is the parent already, and it is a child of the caller's.
        parent=None if telemetry.trace_id() else request.headers.get("traceparent"),
        kind=SpanKind.SERVER,
        attributes={"http.request.method": request.method, "http.route": route, "request.id": request.id},
    ) as span:
        response = await _answer(route, handler, request)
        span.set_attribute("http.response.status_code", response.status)
    telemetry.record_request(time.perf_counter() - started, route, response.status)
    return replace(response, headers={**response.headers, **_echoed(request.headers), "x-request-id": request.id})


async def _answer(route: str, handler: Handler, request: Request) -> Response:
    try:
        return await _handle(handler, request)
    except SettingsError as exc:
        # Names of settings and their bad values are for the operator's log, not for callers.
        _log.error("The settings are wrong: %s", exc, extra={"action": "settings_error"})
        return _error(503, "The service is not configured correctly; its log says why.", "misconfigured", request.id)
    except (Exception, asyncio.CancelledError) as exc:
        if isinstance(exc, asyncio.CancelledError) and has_caller_left():
            raise
        # A cancellation of something else, let through: the Functions worker would never answer.
        telemetry.count_bug(route)
        _log.exception("Unknown exception", extra={"action": "request_bug", "request_id": request.id})
        return _error(500, "The service failed in a way it should not have.", "internal_error", request.id)


async def _handle(handler: Handler, request: Request) -> Response:
    try:
        if not request.body and "transfer-encoding" in request.headers and request.method not in _WITHOUT_BODY:
            raise InvalidRequest("The Functions host passes on no body in chunks; send it with a Content-Length.")
        return await handler(request)
    except InferenceError as exc:
        return error_response(exc, request.id)


def error_response(error: InferenceError, request_id: str) -> Response:
    """Return the one error shape with the error's status, and Retry-After where waiting helps."""
    status = status_of(type(error))
    headers = {}
    if status == 429 or error.retry_after_seconds is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_seconds or 1)))
    return _error(status, error.message, error.code, request_id, headers)


def _error(
    status: int, sentence: str, code: str, request_id: str, headers: Mapping[str, str] | None = None
) -> Response:
    if status >= 500:  # the others are the caller's, and no failure of ours
        telemetry.mark_failed(get_current_span(), code)
    return json_response({"error": sentence, "code": code, "request_id": request_id}, status, headers)


def _echoed(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Azure's own clients, those of Azure ML endpoints among them, find their request by this header."""
    given = headers.get(_CLIENT_REQUEST_ID, "")
    return {_CLIENT_REQUEST_ID: given} if _REQUEST_ID.fullmatch(given) else {}


def _request_id(headers: Mapping[str, str]) -> str:
    given = headers.get("x-request-id", "")
    # As random as a trace id, and no system call: around one, the threads that compute take the interpreter's lock.
    return given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
