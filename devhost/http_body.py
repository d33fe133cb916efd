"""Owns the body of one request while it comes in; it refuses to know of the connection that it comes by."""

import asyncio
from collections.abc import Callable

from devhost.http_messages import BodyTooLarge


class RequestBody:
    """The body of a request, filled as it comes."""

    def __init__(self, limit_bytes: int, on_wanted: Callable[[], None] | None) -> None:
        """`on_wanted` is called once the body is read: for a client that sends it no sooner."""
        self._limit_bytes = limit_bytes
        self._on_wanted = on_wanted
        self._chunks: list[bytes] = []
        self._bytes = 0
        self._is_too_large = False
        self._arrived: asyncio.Future[None] | None = None
        self.is_whole = False

    @property
    def can_be_answered(self) -> bool:
        """Whether there is no more to wait for, or nothing will come before there is an answer."""
        return self.is_whole or self._is_too_large or self._on_wanted is not None

    def announce(self, length: int) -> None:
        self._is_too_large = length > self._limit_bytes

    def add(self, chunk: bytes) -> None:
        self._bytes += len(chunk)
        if self._bytes > self._limit_bytes:
            self._is_too_large = True
            self._chunks.clear()
            self._wake()
        else:
            self._chunks.append(chunk)

    def finish(self) -> None:
        self.is_whole = True
        self._wake()

    def abandon(self) -> None:
        """The rest will not come."""
        if self._arrived is not None:
            self._arrived.cancel()

    async def read(self) -> bytes:
        """See `Request.read`."""
        if not self.is_whole and not self._is_too_large:
            self._arrived = asyncio.get_running_loop().create_future()
            if self._on_wanted is not None:
                self._on_wanted()
            await self._arrived
        if self._is_too_large:
            raise BodyTooLarge
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)
