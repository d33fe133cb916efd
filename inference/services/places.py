"""Owns the queues and containers that must be there before a user's first message: made at the start, or as soon as
storage lets them be.

It refuses to fail a start: every writer makes what it misses anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping

_log = logging.getLogger("inference.services")

_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 60.0


class Places:
    """What is to be made, each by its name with the call that makes it unless it is there."""

    def __init__(
        self,
        creations: Mapping[str, Callable[[], Awaitable[None]]],
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._missing = dict(creations)
        self._wait = wait
        self._later: asyncio.Task[None] | None = None

    async def make(self) -> None:
        """Make what is missing; what storage refuses now is tried again in the background until it is there."""
        for name, failure in (await self._try()).items():
            _log.warning("%s could not be made: %s", name, failure, extra={"action": "storage_not_ready"})
        if self._missing and self._later is None:
            self._later = asyncio.create_task(self._go_on())

    async def close(self) -> None:
        """Give up what is still missing."""
        if self._later is not None:
            self._later.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._later

    async def _try(self) -> dict[str, BaseException]:
        """Make all that is missing at once; return why what could not be made could not."""
        names = [*self._missing]
        outcomes = await asyncio.gather(*(self._missing[name]() for name in names), return_exceptions=True)
        failures = {name: outcome for name, outcome in zip(names, outcomes, strict=True) if outcome is not None}
        self._missing = {name: self._missing[name] for name in failures}
        return failures

    async def _go_on(self) -> None:
        seconds = _FIRST_WAIT_SECONDS
        while self._missing:
            await self._wait(seconds)
            seconds = min(2 * seconds, _LONGEST_WAIT_SECONDS)
            await self._try()
        _log.warning("Every queue and container is there now.", extra={"action": "storage_ready"})
