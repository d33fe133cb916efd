"""Holds the number of fetches from one origin at once, so that this service is no way to flood someone else's.

It refuses to remember origins: one that nobody fetches from takes no memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from msgspec import Struct

from inference.errors import DeadlineExceeded


class _Origin(Struct):
    semaphore: asyncio.Semaphore
    #: Fetches that hold or await a slot.
    users: int = 0


class OriginSlots:
    """Slots per origin, given in the order asked for."""

    def __init__(self, per_origin: int) -> None:
        self._per_origin = per_origin
        self._origins: dict[Hashable, _Origin] = {}

    def __len__(self) -> int:
        """Count the origins that someone fetches from or waits for."""
        return len(self._origins)

    @asynccontextmanager
    async def hold(self, key: Hashable, *, until: float | None) -> AsyncIterator[None]:
        """Hold a slot of the origin `key`; wait for it up to the loop's time `until`.

        Raises DeadlineExceeded.
        """
        origin = self._origins.setdefault(key, _Origin(asyncio.Semaphore(self._per_origin)))
        origin.users += 1
        try:
            await _acquire(origin.semaphore, until)
            try:
                yield
            finally:
                origin.semaphore.release()
        finally:
            origin.users -= 1
            if not origin.users:
                del self._origins[key]


async def _acquire(semaphore: asyncio.Semaphore, until: float | None) -> None:
    try:
        async with asyncio.timeout_at(until):
            await semaphore.acquire()
    except TimeoutError:
        raise DeadlineExceeded("Too many images of one origin were asked for to fetch this one in time.") from None
