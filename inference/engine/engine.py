"""Admission and cores: who may enter, who waits for a core, and the threads that compute.

It refuses to know what is computed. Work is admitted before it starts (TEI's permits): `compute` takes a `Permit`,
so work that skipped admission does not type-check. Interactive work goes before batch work when a core comes free.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from inference.deadline import Deadline
from inference.errors import DeadlineExceeded, Overloaded


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to compute: made by `Engine.admit` or `Engine.admit_batch` only."""

    interactive: bool


@dataclass(slots=True)
class Computed[T]:
    """What a piece of work returned, and the seconds it waited for a core."""

    value: T
    waited_seconds: float


class Engine:
    """A fixed number of cores, each with a thread, shared by everything this process computes."""

    def __init__(self, cores: int, max_waiting: int) -> None:
        self.cores = cores
        self._capacity = cores + max_waiting
        self._admitted = 0
        self._free = cores
        self._waiting: dict[bool, deque[asyncio.Future[None]]] = {True: deque(), False: deque()}
        self._threads = ThreadPoolExecutor(max_workers=cores, thread_name_prefix="engine")
        #: Seconds one piece of work held a core, smoothed: the base of Retry-After.
        self._busy_seconds = 0.05

    @contextmanager
    def admit(self) -> Iterator[Permit]:
        """Admit one interactive image. Raises Overloaded, at once, when as many as may wait are waiting."""
        if self._admitted >= self._capacity:
            raise Overloaded(retry_after_seconds=self._busy_seconds * self._admitted / self.cores)
        self._admitted += 1
        try:
            yield Permit(interactive=True)
        finally:
            self._admitted -= 1

    def admit_batch(self) -> Permit:
        """Admit one image of a batch; the shard's own concurrency bounds how many there are."""
        return Permit(interactive=False)

    async def compute[T](
        self, permit: Permit, work: Callable[[], T], deadline: Deadline, abandon: Callable[[], None] | None = None
    ) -> Computed[T]:
        """Run `work` on one of the engine's threads and return its value.

        A caller that leaves while waiting costs nothing. When the deadline passes, or the caller leaves, while the
        work runs, `abandon` is called to end it early; the core is given back only when the thread is free again.

        Raises DeadlineExceeded, and whatever `work` raises.
        """
        started = time.perf_counter()
        await self._acquire(permit, deadline)
        waited = time.perf_counter() - started
        loop = asyncio.get_running_loop()
        try:
            running = loop.run_in_executor(self._threads, contextvars.copy_context().run, work)
        except BaseException:
            self._release()
            raise
        running.add_done_callback(self._finished(time.perf_counter()))
        try:
            async with asyncio.timeout(deadline.remaining()):
                return Computed(await asyncio.shield(running), waited)
        except (TimeoutError, asyncio.CancelledError, DeadlineExceeded):
            running.add_done_callback(_consume)
            if abandon:
                abandon()
            if (task := asyncio.current_task()) and task.cancelling():
                raise
            raise DeadlineExceeded from None

    async def _acquire(self, permit: Permit, deadline: Deadline) -> None:
        if self._free:
            self._free -= 1
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = self._waiting[permit.interactive]
        queue.append(granted)
        try:
            async with asyncio.timeout(deadline.remaining()):
                await granted
        except BaseException as exc:
            # A grant and a departure can meet: the core that was granted must not be lost.
            if granted.done() and not granted.cancelled():
                self._release()
            else:
                with suppress(ValueError):
                    queue.remove(granted)
            if isinstance(exc, TimeoutError):
                raise DeadlineExceeded from None
            raise

    def _release(self) -> None:
        for queue in (self._waiting[True], self._waiting[False]):
            while queue:
                granted = queue.popleft()
                if not granted.done():
                    granted.set_result(None)
                    return
        self._free += 1

    def _finished(self, started: float) -> Callable[[Any], None]:
        def release(_: Any) -> None:
            self._busy_seconds += 0.1 * (time.perf_counter() - started - self._busy_seconds)
            self._release()

        return release

    async def run_blocking[T](self, work: Callable[[], T]) -> T:
        """Run rare long work (loading a model) beside the cores, on a thread of asyncio's own pool."""
        return await asyncio.to_thread(work)

    def close(self) -> None:
        """Let the threads end; running work is finished first."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _consume(future: asyncio.Future[Any]) -> None:
    """Take the outcome of work nobody waits for, so that asyncio does not report it as never retrieved."""
    if not future.cancelled():
        future.exception()
