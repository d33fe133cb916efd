"""Owns the HTTP server of the host: builds its handler from functions and options, serves on the reserved socket."""

import asyncio
import socket

from devhost import console
from devhost.admin_api import AdminApi, AdministeredHost
from devhost.cors import CorsPolicy
from devhost.http_connection import HttpConnection
from devhost.http_messages import Handler
from devhost.http_server import DEFAULT_BODY_LIMIT_BYTES, FunctionsHandler
from devhost.keys import Keys, load_keys
from devhost.options import HostOptions
from devhost.routing import Router

#: Connections that may wait to be accepted, as Kestrel's backlog.
BACKLOG = 512


class HttpServer:
    """Accepts connections; each answers its requests by `handler`."""

    def __init__(self, handler: Handler, body_limit_bytes: int) -> None:
        self._handler = handler
        self._body_limit_bytes = body_limit_bytes
        self._connections: set[HttpConnection] = set()
        self._has_none = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._is_draining = False

    async def start(self, listener: socket.socket) -> None:
        """Begin to accept on a socket that is bound."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connect, sock=listener, backlog=BACKLOG)

    async def drain(self) -> None:
        """Accept no more, and return once what was asked is answered, however long that takes."""
        self._is_draining = True
        if self._server is not None:
            self._server.close()
        for connection in [*self._connections]:
            connection.end()
        if self._connections:
            await self._has_none.wait()

    def cut_short(self) -> None:
        """Leave the clients that do not read their replies, or do not send the rest of their requests."""
        for connection in [*self._connections]:
            connection.cut_short()

    def _connect(self) -> HttpConnection:
        return HttpConnection(self._handler, self._body_limit_bytes, self)

    def note_opened(self, connection: HttpConnection) -> None:
        self._connections.add(connection)
        self._has_none.clear()
        if self._is_draining:  # accepted a moment before
            connection.end()

    def note_closed(self, connection: HttpConnection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._has_none.set()


async def serve_http(host: AdministeredHost, options: HostOptions) -> HttpServer:
    """Start HTTP for the host's functions and admin API. Raises ConfigurationError for routes that the host refuses."""
    keys = _keys(host, options) if options.enable_auth else None
    handler = FunctionsHandler(
        Router(host.functions, host.route_prefix),
        host.invoke,
        AdminApi(host, keys, options.settings),
        keys=keys,
        cors=CorsPolicy(options.local.cors_origins, options.local.cors_credentials),
    )
    server = HttpServer(handler, options.integer_setting("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT", DEFAULT_BODY_LIMIT_BYTES))
    await server.start(options.listener)
    return server


def _keys(host: AdministeredHost, options: HostOptions) -> Keys:
    folder = options.app_dir / ".devhost" / "secrets"
    keys = load_keys(folder, [function.name for function in host.functions if function.is_http])
    console.say(f"Auth is enabled. Keys: {folder / 'host.json'} (master and host keys), FUNCTION.json beside it.")
    return keys
