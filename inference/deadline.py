"""One deadline, made at the edge and spent below; it refuses to know what it is spent on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine

from msgspec import Struct

from inference.errors import DeadlineExceeded


class Deadline(Struct, frozen=True):
    """A point on the monotonic clock (seconds)."""

    at: float
    clock: Callable[[], float] = time.monotonic
    #: Seconds there were in all, when it was made.
    given_seconds: float = float("inf")

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float] = time.monotonic) -> Deadline:
        """Return the deadline `seconds` from now."""
        return cls(clock() + seconds, clock, seconds)

    def remaining(self) -> float:
        """Return the seconds left. Raises DeadlineExceeded when there are none."""
        left = self.at - self.clock()
        if left <= 0:
            raise DeadlineExceeded
        return left

    async def bound[T](self, work: Awaitable[T]) -> T:
        """Wait for `work` no longer than is left, and do not begin it when nothing is. Raises DeadlineExceeded."""
        try:
            left = self.remaining()
        except DeadlineExceeded:
            if isinstance(work, Coroutine):
                work.close()  # Python complains of one that nobody awaits
            raise
        try:
            async with asyncio.timeout(left):
                return await work
        except TimeoutError:
            raise DeadlineExceeded from None
