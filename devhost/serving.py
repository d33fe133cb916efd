"""Owns the HTTP server of the host: builds its handler from functions and options, starts it on the reserved socket."""

import asyncio

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from devhost import console
from devhost.admin_api import AdminApi, AdministeredHost
from devhost.cors import CorsPolicy
from devhost.http_server import DEFAULT_BODY_LIMIT_BYTES, FunctionsHandler
from devhost.keys import Keys, load_keys
from devhost.options import HostOptions
from devhost.routing import Router

#: Kestrel's keep-alive.
KEEP_ALIVE_SECONDS = 130.0

#: Connections that may wait to be accepted, as Kestrel's backlog.
BACKLOG = 512

#: Draining has its own time limit, the host's; the server itself waits for as long as it takes.
NO_LIMIT_SECONDS = 3600.0


async def serve_http(host: AdministeredHost, options: HostOptions) -> web.ServerRunner:
    """Start HTTP for the host's functions and admin API. Raises ConfigurationError for routes that the host refuses."""
    keys = _keys(host, options) if options.enable_auth else None
    limit = options.integer_setting("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT", DEFAULT_BODY_LIMIT_BYTES)
    handler = FunctionsHandler(
        Router(host.functions, host.route_prefix),
        host.invoke,
        AdminApi(host, keys, options.settings),
        keys=keys,
        cors=CorsPolicy(options.local.cors_origins, options.local.cors_credentials),
        body_limit_bytes=limit,
    )
    # The low-level server: aiohttp's own router, middlewares and access log have no part in a Functions host.
    # Kestrel hands a body with Content-Encoding on as it came.
    server = web.Server(
        handler,
        request_factory=_RequestFactory(limit),
        access_log=None,
        keepalive_timeout=KEEP_ALIVE_SECONDS,
        auto_decompress=False,
    )
    runner = web.ServerRunner(server, shutdown_timeout=NO_LIMIT_SECONDS)
    await runner.setup()
    await web.SockSite(runner, options.listener, backlog=BACKLOG).start()
    return runner


def _keys(host: AdministeredHost, options: HostOptions) -> Keys:
    folder = options.app_dir / ".devhost" / "secrets"
    keys = load_keys(folder, [function.name for function in host.functions if function.is_http])
    console.say(f"Auth is enabled. Keys: {folder / 'host.json'} (master and host keys), FUNCTION.json beside it.")
    return keys


class _RequestFactory:
    """Makes requests that accept a body of up to `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._loop = asyncio.get_running_loop()

    def __call__(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        return web.BaseRequest(message, payload, protocol, writer, task, self._loop, client_max_size=self._limit)
