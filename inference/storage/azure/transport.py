"""The connection pool that all clients of one account share, and how long its calls may take.

It refuses to be used from a second event loop: aiohttp's connections belong to the loop that opened them.
"""

from __future__ import annotations

import asyncio
import io
from typing import Any
from urllib.request import getproxies

import aiohttp
from azure.core.pipeline.transport import AioHttpTransport

from inference.errors import ShuttingDown

CONNECT_TIMEOUT_SECONDS = 5
#: Silence on an open connection, not the length of a call.
READ_TIMEOUT_SECONDS = 30
MAX_CONNECTIONS = 64
#: Below the five seconds after which Azurite (Node) closes an idle connection, so that none dies under a request.
KEEP_ALIVE_SECONDS = 4.0
_LARGE_BODY_BYTES = 1024 * 1024


class PooledTransport(AioHttpTransport):  # type: ignore[misc] # lazily exported by the SDK, so untyped
    """The SDK's aiohttp transport over a connection pool of our own measure, opened by the first call."""

    def __init__(self) -> None:
        super().__init__(connection_timeout=CONNECT_TIMEOUT_SECONDS, read_timeout=READ_TIMEOUT_SECONDS)
        self._opened_in: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    async def open(self) -> None:
        """Open the pool in the running loop. Raises RuntimeError in another one, ShuttingDown once closed."""
        if self._is_closed:
            raise ShuttingDown
        loop = asyncio.get_running_loop()
        if self._opened_in is None:
            self._opened_in = loop
            self.session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=KEEP_ALIVE_SECONDS),
                # As the SDK makes its own session: bodies as stored, no cookies, the platform's proxy settings.
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                # Where there is no proxy this would only have each call read a .netrc file, on a thread of its own.
                trust_env=bool(getproxies()),
            )
        if self._opened_in is not loop:
            raise RuntimeError("this storage connection belongs to another event loop")
        await super().open()

    async def close(self) -> None:
        """Hang up for good: what is under way tries again, and hears that the process ends."""
        self._is_closed = True
        await super().close()

    def _get_request_data(self, request: Any) -> Any:
        data = super()._get_request_data(request)
        # aiohttp hands bytes to the socket in one go, and warns; a file it sends in pieces, other tasks between them.
        return io.BytesIO(data) if isinstance(data, bytes) and len(data) > _LARGE_BODY_BYTES else data
