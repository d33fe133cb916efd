"""Owns the building of the host's parts from its options and the loaded functions; imports what is slow to import."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from devhost import console
from devhost.admin_api import AdminApi, AdministeredHost
from devhost.cors import CorsPolicy
from devhost.data_bindings import DataBindings
from devhost.errors import ConfigurationError
from devhost.http_server import DEFAULT_BODY_LIMIT_BYTES, FunctionsHandler
from devhost.invoker import Invoker
from devhost.keys import Keys, load_keys
from devhost.options import HostOptions
from devhost.queue_messages import QueueWatcher
from devhost.routing import Router
from devhost.storage_clients import DEFAULT_CONNECTION, StorageClients
from devhost.triggers import Triggers
from devhost.worker_pool import WorkerPool

#: Kestrel's keep-alive.
KEEP_ALIVE_SECONDS = 130.0

#: Connections that may wait to be accepted, as Kestrel's backlog.
BACKLOG = 512


@dataclass(frozen=True)
class Parts:
    """What `assemble` built; `serve` starts HTTP on the reserved socket."""

    invoker: Invoker
    triggers: Triggers
    serve: Callable[[], Awaitable[web.ServerRunner]]


def assemble(host: AdministeredHost, options: HostOptions, pool: WorkerPool) -> Parts:
    """Build invoker, triggers and HTTP server. Raises ConfigurationError for routes, schedules or connections."""
    _check_host_storage(host, options)
    clients = StorageClients(options.settings)
    watcher = QueueWatcher()
    queues = options.host_json.queues
    data_bindings = DataBindings(clients, is_base64=queues.is_base64, enqueued=watcher.notify)
    timeout_seconds = options.host_json.function_timeout_seconds
    invoker = Invoker(pool, data_bindings, timeout_seconds, is_verbose=options.is_verbose)
    triggers = Triggers(host.functions, clients, watcher, invoker, queues, options.settings)
    keys = _keys(host, options) if options.enable_auth else None
    limit = int(options.settings.get("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT") or DEFAULT_BODY_LIMIT_BYTES)
    handler = FunctionsHandler(
        Router(host.functions, host.route_prefix),
        invoker.invoke,
        AdminApi(host, keys, options.settings),
        keys=keys,
        cors=CorsPolicy(options.local.cors_origins, options.local.cors_credentials),
        body_limit_bytes=limit,
    )

    async def serve() -> web.ServerRunner:
        return await _serve(handler, options.listener, limit)

    return Parts(invoker, triggers, serve)


def _check_host_storage(host: AdministeredHost, options: HostOptions) -> None:
    """Refuse triggers that keep state in the host's own storage without it, as `func start` does."""
    needs_storage = {"queueTrigger", "timerTrigger"}
    if not any(function.trigger.type in needs_storage for function in host.functions):
        return
    names = ("", "__accountName", "__blobServiceUri", "__queueServiceUri")
    if not any(options.settings.get(f"{DEFAULT_CONNECTION}{name}") for name in names):
        raise ConfigurationError(
            f"Missing value for {DEFAULT_CONNECTION} in local.settings.json. "
            "This is required for all triggers other than httptrigger and warmuptrigger."
        )


def _keys(host: AdministeredHost, options: HostOptions) -> Keys:
    folder = options.app_dir / ".devhost" / "secrets"
    keys = load_keys(folder, [function.name for function in host.functions if function.is_http])
    console.say(f"Auth is enabled. Keys: {folder / 'host.json'} (master and host keys), FUNCTION.json beside it.")
    return keys


async def _serve(handler: FunctionsHandler, listener: socket.socket, body_limit_bytes: int) -> web.ServerRunner:
    loop = asyncio.get_running_loop()

    def make_request(
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=body_limit_bytes)

    # The low-level server: aiohttp's own router, middlewares and access log have no part in a Functions host.
    server = web.Server(handler, request_factory=make_request, access_log=None, keepalive_timeout=KEEP_ALIVE_SECONDS)
    runner = web.ServerRunner(server, shutdown_timeout=3600)
    await runner.setup()
    await web.SockSite(runner, listener, backlog=BACKLOG).start()
    return runner
