"""The cores, a thread for each, and the work that waits for one: interactive before batch, first come first served.

A thread that ends one piece of work takes the next itself; to ask the event loop, which wants a core for that, would
leave its own core idle meanwhile. It refuses to know what is computed, and until when it is wanted.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from msgspec import Struct, field

from inference.errors import ShuttingDown


class Work[T](Struct, eq=False):
    """One piece of work. `future.cancel()` succeeds until a core has begun it."""

    call: Callable[[], T]
    #: One is held while the work has a core; who waits for one leaves the cores to others. None: by none.
    turns: threading.Semaphore | None = None
    future: Future[T] = field(default_factory=Future)
    #: By the performance counter; 0 until a core has begun it.
    begun_at: float = 0.0


class CorePool:
    """So many cores, each held by one piece of work at a time. Every method may be called on any thread."""

    def __init__(self, cores: int, on_ended: Callable[[float], None]) -> None:
        """`on_ended` is told, on the work's thread, the seconds that it held its core, before its future is done."""
        self.cores = cores
        self._on_ended = on_ended
        self._threads = ThreadPoolExecutor(max_workers=cores, thread_name_prefix="engine")
        #: Guards what follows; nothing is waited for while it is held.
        self._lock = threading.Lock()
        self._busy = 0
        self._interactive: deque[Work[Any]] = deque()
        self._batch: deque[Work[Any]] = deque()

    @property
    def is_unused(self) -> bool:
        """Whether every core is free."""
        return not self._busy

    def submit[T](
        self, call: Callable[[], T], *, is_interactive: bool, turns: threading.Semaphore | None = None
    ) -> Work[T]:
        """Have `call` run when a core, and one of `turns`, is free. Raises ShuttingDown after `close`."""
        work = Work(call, turns)
        with self._lock:
            (self._interactive if is_interactive else self._batch).append(work)
        # The pool's own queue holds a turn for each piece of work; who has the turn takes what goes first by then.
        try:
            self._threads.submit(self._take_turn)
        except RuntimeError:
            self.withdraw(work)
            raise ShuttingDown from None
        return work

    def withdraw(self, work: Work[Any]) -> bool:
        """Take back work that no core has begun; return whether that is so."""
        if not work.future.cancel():
            return False
        with self._lock:
            for queue in (self._interactive, self._batch):
                with suppress(ValueError):
                    queue.remove(work)
        return True

    def take_spare(self) -> bool:
        """Take every other core for the work that holds one, if all of them are free and nothing waits for one."""
        with self._lock:
            is_alone = self._busy == 1 < self.cores and not self._interactive and not self._batch
            if is_alone:
                self._busy = self.cores
            return is_alone

    def give_back_spare(self) -> None:
        """Give back what `take_spare` took."""
        with self._lock:
            self._busy -= self.cores - 1
            missed = len(self._interactive) + len(self._batch)
        self._make_up_for(missed)

    def close(self) -> None:
        """Let the threads end; work that is under way is finished first, what waits is cancelled."""
        with self._lock:
            waiting = [*self._interactive, *self._batch]
            self._interactive.clear()
            self._batch.clear()
        for work in waiting:
            work.future.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _take_turn(self) -> None:
        work = self._begin()
        if work is None:
            return
        try:
            value = work.call()
        except BaseException as exc:
            self._end(work)
            work.future.set_exception(exc)
        else:
            self._end(work)
            work.future.set_result(value)

    def _begin(self) -> Work[Any] | None:
        with self._lock:
            # While one piece of work has every core, the turns of others pass; they get new ones when it is done.
            if self._busy == self.cores:
                return None
            for queue in (self._interactive, self._batch):
                if (work := _take_first(queue)) is not None:
                    self._busy += 1
                    work.begun_at = time.perf_counter()
                    return work
            return None

    def _end(self, work: Work[Any]) -> None:
        with self._lock:
            self._busy -= 1
        self._on_ended(time.perf_counter() - work.begun_at)
        if work.turns is not None:
            work.turns.release()
            self._make_up_for(1)

    def _make_up_for(self, missed: int) -> None:
        """Give new turns for those that passed while work could not begin."""
        with suppress(RuntimeError):  # closed meanwhile
            for _ in range(missed):
                self._threads.submit(self._take_turn)


def _take_first(queue: deque[Work[Any]]) -> Work[Any] | None:
    """Remove the first work that is still wanted and does not wait for others of its kind, and return it."""
    held_up = []
    try:
        while queue:
            work = queue.popleft()
            if work.turns is not None and not work.turns.acquire(blocking=False):
                held_up.append(work)
            elif work.future.set_running_or_notify_cancel():
                return work
            elif work.turns is not None:
                work.turns.release()
        return None
    finally:
        queue.extendleft(reversed(held_up))
