"""The cores that are free and who waits for one: interactive work before batch work, first come first served.

It refuses to know what a core is used for. The event loop takes cores; work that runs already may take the spare ones
for a moment from its own thread, and gives them back there.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress

from inference.deadline import Deadline
from inference.errors import DeadlineExceeded


class CoreQueue:
    """So many cores, each held by one piece of work at a time."""

    def __init__(self, cores: int) -> None:
        self.cores = cores
        #: Guards what follows; nothing is waited for while it is held.
        self._lock = threading.Lock()
        self._free = cores
        self._interactive: deque[asyncio.Future[None]] = deque()
        self._batch: deque[asyncio.Future[None]] = deque()

    @property
    def is_unused(self) -> bool:
        """Whether every core is free."""
        return self._free == self.cores

    async def acquire(self, deadline: Deadline, *, is_interactive: bool) -> None:
        """Wait for a core and take it. Raises DeadlineExceeded; who leaves while waiting costs nothing."""
        with self._lock:
            if self._free:
                self._free -= 1
                return
            granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            queue = self._interactive if is_interactive else self._batch
            queue.append(granted)
        try:
            async with asyncio.timeout(deadline.remaining()):
                await granted
        except BaseException as exc:
            # A grant and a departure can meet: the core that was granted must not be lost.
            if granted.done() and not granted.cancelled():
                self.release()
            else:
                with self._lock, suppress(ValueError):
                    queue.remove(granted)
            if isinstance(exc, TimeoutError):
                raise DeadlineExceeded from None
            raise

    def release(self) -> None:
        """Give a core to who waits longest, or back; on the event loop only."""
        with self._lock:
            for queue in (self._interactive, self._batch):
                while queue:
                    granted = queue.popleft()
                    if not granted.done():
                        granted.set_result(None)
                        return
            self._free += 1

    def take_spare(self) -> bool:
        """Take every other core for the work that holds one, if all of them are free; on any thread."""
        with self._lock:
            is_alone = 0 < self.cores - 1 == self._free
            if is_alone:
                self._free = 0
            return is_alone

    def give_back_spare(self) -> None:
        """Give back what `take_spare` took; on any thread."""
        spare = self.cores - 1
        with self._lock:
            waiting = self._interactive or self._batch
            if not waiting:
                self._free += spare
                return
            loop = waiting[0].get_loop()
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._release_spare)

    def _release_spare(self) -> None:
        for _ in range(self.cores - 1):
            self.release()
