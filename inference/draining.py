"""What SIGTERM means here: take no more work, give back what was not started, then end.

It refuses to end while something is under way, up to a limit well inside the platform's grace: a Container Apps
replica has 30 s between SIGTERM and SIGKILL.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

_log = logging.getLogger("inference.draining")

#: sysexits.h: an internal software error.
_EX_SOFTWARE = 70

#: Longest wait for work under way; what is not done by then is delivered again, which does no harm.
DRAIN_SECONDS = 20.0

#: After the last piece of work: for the worker to hand its outcome to the host before the process ends.
LINGER_SECONDS = 2.0


class Draining:
    """Set by SIGTERM; shard workers look at it between items."""

    def __init__(self) -> None:
        self._set = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._under_way = 0
        self._ending: asyncio.Task[None] | None = None

    def is_set(self) -> bool:
        """Tell whether this process is shutting down."""
        return self._set.is_set()

    async def wait(self) -> None:
        """Return once it is."""
        await self._set.wait()

    async def wait_until_idle(self) -> None:
        """Return once nothing is under way."""
        await self._idle.wait()

    @contextmanager
    def work(self) -> Iterator[None]:
        """Mark one request or message as under way."""
        self._under_way += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    def start(self, close: Callable[[], Awaitable[None]]) -> None:
        """Begin to drain: when nothing is under way, `close`, and then SIGTERM's default action."""
        if self._ending is None:
            self._set.set()
            self._ending = asyncio.get_running_loop().create_task(self._end(close))

    def listen(self, close: Callable[[], Awaitable[None]]) -> None:
        """Drain at SIGTERM, in the main thread only (elsewhere Python gets no signals); a second one ends at once."""
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()

        def on_signal(*_: object) -> None:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            loop.call_soon_threadsafe(self.start, close)

        signal.signal(signal.SIGTERM, on_signal)

    async def _end(self, close: Callable[[], Awaitable[None]]) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.wait_until_idle(), DRAIN_SECONDS)
        try:
            await close()
        except Exception:  # a connection that does not close must not keep the process
            _log.exception("closing failed", extra={"action": "close_failed"})
        await asyncio.sleep(LINGER_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)


def end_process() -> None:
    """End this process at once, because a thread of it never comes back: the host starts another in its place.

    What was under way is delivered again, as after a crash, and an item that causes it ends alone.
    """
    _log.critical("Work did not end after its deadline, so this process does.", extra={"action": "stuck"})
    os._exit(_EX_SOFTWARE)
