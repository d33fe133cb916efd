"""Admission and cores: who may enter, who waits for a core, and the threads that compute.

It refuses to know what is computed. Work is admitted before it starts (TEI's permits): `compute` takes a `Permit`,
so work that skipped admission does not type-check. Interactive work goes before batch work when a core comes free.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from msgspec import Struct

from inference.cancellation import has_caller_left
from inference.deadline import Deadline
from inference.engine.core_pool import CorePool
from inference.engine.stuck import StuckWatch
from inference.errors import DeadlineExceeded, Overloaded, ShuttingDown

#: Who was served beside others is thought to come again with them, for the time that so many pieces of work take. Two
#: callers that come again at once would else be alone by turns, and each run with every core hold up the other.
COMPANY_RUNS = 2


class Permit(Struct, frozen=True):
    """The right to compute: made by `Engine.admit` or `Engine.admit_batch` only."""

    interactive: bool


class Computed[T](Struct):
    """What a piece of work returned, and the seconds it waited for a core."""

    value: T
    waited_seconds: float


class Engine:
    """A fixed number of cores, each with a thread, shared by everything this process computes."""

    def __init__(
        self,
        cores: int,
        max_waiting: int,
        on_stuck: Callable[[], None] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` tells seconds that never go back."""
        self.cores = cores
        self._clock = clock
        self._stuck = StuckWatch(on_stuck)
        self._capacity = cores + max_waiting
        self._admitted = 0
        self._cores = CorePool(cores, self._note_ended)
        #: Seconds one piece of work held a core, smoothed: the base of Retry-After.
        self._busy_seconds = 0.05
        #: When work was last admitted or ended.
        self._active_at = clock()
        #: When more than one interactive image was last admitted at once.
        self._company_at = float("-inf")

    @contextmanager
    def admit(self) -> Iterator[Permit]:
        """Admit one interactive image. Raises Overloaded, at once, when as many as may wait are waiting."""
        if self._admitted >= self._capacity:
            raise Overloaded(retry_after_seconds=self._busy_seconds * self._admitted / self.cores)
        self._admitted += 1
        self._active_at = self._clock()
        try:
            yield Permit(interactive=True)
        finally:
            if self._admitted > 1:
                self._company_at = self._clock()
            self._admitted -= 1

    def admit_batch(self) -> Permit:
        """Admit one image of a batch; the shard's own concurrency bounds how many there are."""
        return Permit(interactive=False)

    async def compute[T](
        self,
        permit: Permit,
        work: Callable[[], T],
        deadline: Deadline,
        abandon: Callable[[], Deadline | None] | None = None,
        turns: threading.Semaphore | None = None,
    ) -> Computed[T]:
        """Run `work` on one of the engine's threads and return its value; it holds one of `turns` meanwhile.

        A caller that leaves while waiting costs nothing. When the deadline passes, or the caller leaves, while the
        work runs, `abandon` is called to end it early, or to tell until when others want it; the core is given back
        only when the thread is free again.

        Raises DeadlineExceeded, Overloaded for an item of a batch that got no core in time, which is no fault of the
        item's, ShuttingDown once the engine was closed, and whatever `work` raises.
        """
        submitted_at, left_seconds = time.perf_counter(), deadline.remaining()
        call = partial(contextvars.copy_context().run, work)
        submitted = self._cores.submit(call, is_interactive=permit.interactive, turns=turns)
        try:
            async with asyncio.timeout(left_seconds):
                value = await asyncio.wrap_future(submitted.future)
        except (TimeoutError, asyncio.CancelledError, DeadlineExceeded) as exc:
            is_left = has_caller_left()
            if self._cores.withdraw(submitted):
                if is_left:
                    raise
                if isinstance(exc, asyncio.CancelledError):  # by `close`, as the caller is still there
                    raise ShuttingDown from None
                raise (DeadlineExceeded if permit.interactive else Overloaded) from None
            others_deadline = abandon() if abandon else None
            # The first one ended with the wait; this one ends with the work, whose outcome nobody waits for.
            running = asyncio.wrap_future(submitted.future)
            running.add_done_callback(_consume)
            if is_left or permit.interactive or others_deadline is not None:
                self._stuck.watch(running, others_deadline or deadline)
            else:
                await self._stuck.wait(running, deadline)
            if is_left:
                raise
            raise DeadlineExceeded from None
        return Computed(value, submitted.begun_at - submitted_at)

    @contextmanager
    def alone(self, *, wanted: bool = True) -> Iterator[bool]:
        """Tell a piece of work, on its own thread, whether it is the only one; if so it has every core inside.

        Work that comes meanwhile waits until the block ends, so the block is one run of a model and no more. False
        where it is not `wanted`, and for a moment after others were there.
        """
        # Who is admitted and fetches, or is read from a socket, wants a core any moment.
        is_alone = wanted and self._admitted <= 1 and not self._had_company() and self._cores.take_spare()
        try:
            yield is_alone
        finally:
            if is_alone:
                self._cores.give_back_spare()

    def is_quiet(self, seconds: float) -> bool:
        """Tell, on any thread, whether nothing was admitted or computed for so long."""
        is_empty = not self._admitted and self._cores.is_unused
        return is_empty and self._clock() - self._active_at >= seconds

    def _had_company(self) -> bool:
        return self._clock() - self._company_at < COMPANY_RUNS * self._busy_seconds

    def _note_ended(self, seconds: float) -> None:
        self._busy_seconds += 0.1 * (seconds - self._busy_seconds)
        self._active_at = self._clock()

    def close(self) -> None:
        """Let the threads end; running work is finished first."""
        self._cores.close()


def _consume(future: asyncio.Future[Any]) -> None:
    """Take the outcome of work nobody waits for, so that asyncio does not report it as never retrieved."""
    if not future.cancelled():
        future.exception()
