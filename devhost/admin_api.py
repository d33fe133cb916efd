"""Owns the host's own HTTP face: the landing page, /admin/host and /admin/functions.

It needs the master key when auth is enabled, but for the ping; it never shows a key.
"""

import asyncio
import json
import os
import platform
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from devhost import console
from devhost.console import RUNTIME_VERSION
from devhost.functions import Function
from devhost.http_messages import BodyTooLarge, Request, Response, json_response, text_response
from devhost.http_server import presented_key
from devhost.invoker import Occasion
from devhost.keys import Keys
from devhost.messages import Outcome, Value
from devhost.timer_listener import make_occasion as make_timer_occasion

_HOMEPAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Your Functions app is up and running</title></head>
<body style="font-family: sans-serif; margin: 15vh auto; max-width: 32em">
<h1>Your Functions app is up and running</h1>
<p>This is the local host, which stands in for the Azure Functions host.</p>
</body></html>
"""


class AdministeredHost(Protocol):
    """What the admin API asks of the host."""

    @property
    def functions(self) -> list[Function]: ...
    @property
    def route_prefix(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def errors(self) -> list[str]: ...
    @property
    def host_id(self) -> str: ...
    @property
    def outstanding_invocations(self) -> int: ...
    @property
    def is_draining(self) -> bool: ...
    @property
    def worker_pids(self) -> list[int]: ...
    async def invoke(self, function: Function, occasion: Occasion) -> Outcome: ...
    def drain(self) -> None: ...


Route = Callable[[Request], Awaitable[Response]]


class AdminApi:
    """Answers what no function answers."""

    def __init__(self, host: AdministeredHost, keys: Keys | None, settings: Mapping[str, str]) -> None:
        self._host = host
        self._keys = keys
        self._is_homepage_disabled = settings.get("AzureWebJobsDisableHomepage", "").lower() == "true"
        self._started = time.monotonic()
        self._background: set[asyncio.Task[Any]] = set()
        self._routes: Mapping[tuple[str, str], Route] = {
            ("GET", "/admin/host/status"): self._status,
            ("GET", "/admin/host/processes"): self._processes,
            ("POST", "/admin/host/drain"): self._drain,
            ("GET", "/admin/host/drain/status"): self._drain_status,
            ("GET", "/admin/functions"): self._list_functions,
        }

    async def __call__(self, request: Request) -> Response:
        path = request.path.rstrip("/").lower()
        if path == "":
            return self._homepage()
        if path == "/admin/host/ping" and request.method in {"GET", "POST"}:
            return Response(headers=[("Cache-Control", "no-store, no-cache")])
        if not path.startswith("/admin/"):
            is_down = self._host.state == "Error"
            return text_response("Function host is not running.", 503) if is_down else Response(404)
        route = self._routes.get((request.method, path)) or self._function_route(request, path)
        if route is None:
            return Response(404)
        if self._keys is not None and not self._keys.is_admin(presented_key(request)):
            return Response(401)
        return await route(request)

    def _homepage(self) -> Response:
        if self._is_homepage_disabled:
            return Response(204)
        return text_response(_HOMEPAGE, content_type="text/html")

    async def _status(self, _request: Request) -> Response:
        status = {
            "id": self._host.host_id,
            "state": self._host.state,
            "version": RUNTIME_VERSION,
            "versionDetails": f"{RUNTIME_VERSION} devhost",
            "platformVersion": "",
            "instanceId": self._host.host_id,
            "computerName": platform.node(),
            "processUptime": round((time.monotonic() - self._started) * 1000),
            "functionAppContentEditingState": "NotAllowed",
        }
        if self._host.errors:
            status["errors"] = self._host.errors
        return json_response(status)

    async def _processes(self, _request: Request) -> Response:
        pids = [(os.getpid(), "func"), *((pid, "python") for pid in self._host.worker_pids)]
        processes = [{"processId": pid, "processName": name, "isEligibleForOpenInBrowser": False} for pid, name in pids]
        return json_response({"processes": processes})

    async def _drain(self, _request: Request) -> Response:
        self._host.drain()
        return Response(202)

    async def _drain_status(self, _request: Request) -> Response:
        outstanding = self._host.outstanding_invocations
        state = "Disabled"
        if self._host.is_draining:
            state = "InProgress" if outstanding else "Completed"
        return json_response({"state": state, "outstandingInvocations": outstanding, "outstandingRetries": 0})

    async def _list_functions(self, request: Request) -> Response:
        return json_response([self._describe(function, request) for function in self._host.functions])

    def _function_route(self, request: Request, path: str) -> Route | None:
        name = path.removeprefix("/admin/functions/")
        function = next((f for f in self._host.functions if f.name.lower() == name), None)
        if function is None:
            return None

        async def describe(request: Request) -> Response:
            return json_response(self._describe(function, request))

        async def invoke(request: Request) -> Response:
            return await self._invoke(function, request)

        return {"GET": describe, "POST": invoke}.get(request.method)

    async def _invoke(self, function: Function, request: Request) -> Response:
        try:
            document = json.loads(await request.read())
        except BodyTooLarge:
            return Response(413)
        except (ValueError, RecursionError):
            return Response(400)
        if not isinstance(document, dict):
            return Response(400)
        given = document.get("input")
        text = given if isinstance(given, str) else "" if given is None else json.dumps(given)
        task = asyncio.create_task(self._run(function, text, request.url))
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return Response(202)

    async def _run(self, function: Function, text: str, url: str) -> None:
        try:
            await self._host.invoke(function, make_manual_occasion(function, text, url))
        except Exception as error:
            console.log(f"Invoking 'Functions.{function.name}' failed: {error}")

    def _describe(self, function: Function, request: Request) -> dict[str, Any]:
        base = f"http://{request.headers.get('host', '')}"
        prefix = f"{self._host.route_prefix}/" if self._host.route_prefix else ""
        bindings = [dict(binding.properties) for binding in function.bindings]
        return {
            "name": function.name,
            "script_root_path_href": None,
            "script_href": f"{base}/admin/vfs/function_app.py",
            "config_href": None,
            "test_data_href": None,
            "href": f"{base}/admin/functions/{function.name}",
            "invoke_url_template": f"{base}/{prefix}{function.route}" if function.is_http else None,
            "language": "python",
            "config": {
                "name": function.name,
                "entryPoint": function.name,
                "scriptFile": "function_app.py",
                "language": "python",
                "bindings": bindings,
            },
            "files": None,
            "test_data": None,
            "isDisabled": function.is_disabled,
            "isDirect": True,
            "isProxy": False,
        }


def make_manual_occasion(function: Function, text: str, url: str) -> Occasion:
    """Make a trigger value of the `input` of POST /admin/functions/NAME."""
    now = datetime.now(UTC)
    if function.trigger.type == "timerTrigger":
        return make_timer_occasion(None, now)
    if function.trigger.type == "httpTrigger":
        request = {"method": "POST", "url": url, "headers": {}, "params": {}, "query": {}, "body": text.encode()}
        return Occasion(Value("http", request))
    metadata = {
        "Id": Value("string", ""),
        "DequeueCount": Value("json", "0"),
        "QueueTrigger": Value("string", text),
    }
    is_queue = function.trigger.type == "queueTrigger"
    return Occasion(
        Value("string", text),
        trigger_metadata=metadata if is_queue else {},
        binding_data={"queueTrigger": text} if is_queue else {},
    )
