"""Joins items that wait for the same model into one run, where the model's plan says that this gains.

It refuses to wait for company: who gets a core takes what is there (Triton's max_queue_delay 0). A caller that left is
passed over, a run that fails is repeated item by item, and as many rows must come out as went in.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress

from inference.deadline import Deadline
from inference.engine.engine import Engine, Permit
from inference.engine.termination import Termination
from inference.errors import DeadlineExceeded, InferenceFailed

#: Runs the items once; ends early when the termination says so; returns one result for each, in order.
type RunMany[T, R] = Callable[[Sequence[T], Termination], Sequence[R]]


class _Joined:
    """The items of one run, which ends early when each of their callers has left."""

    def __init__(self, entries: Sequence[_Entry]) -> None:
        self.entries = entries
        self.termination = Termination()

    def note_departure(self) -> Deadline | None:
        """End the run if nobody wants it any more; return until when somebody does."""
        staying = [entry.deadline for entry in self.entries if not entry.has_left]
        if not staying:
            self.termination.end()
        return max(staying, key=lambda deadline: deadline.at, default=None)


class _Entry:
    """One item, and the future that its caller waits for."""

    def __init__(self, item: object, deadline: Deadline) -> None:
        self.item = item
        self.deadline = deadline
        self.outcome: Future[object] = Future()
        self.joined: _Joined | None = None
        self.has_left = False

    def leave(self) -> Deadline | None:
        """Note that the caller has left; return until when others want the run that the item is in."""
        self.has_left = True
        return self.joined.note_departure() if self.joined is not None else None


class Batcher[T, R]:
    """Items for one model. `run` is called on the event loop, the items are computed on the engine's threads."""

    def __init__(self, engine: Engine, run_many: RunMany[T, R], max_batch: int) -> None:
        self._engine = engine
        self._run_many = run_many
        self._max_batch = max_batch
        self._lock = threading.Lock()
        self._waiting: deque[_Entry] = deque()

    async def run(self, permit: Permit, item: T, deadline: Deadline) -> R:
        """Return the result for one item. Raises DeadlineExceeded, and what the run raises for this item alone."""
        entry = _Entry(item, deadline)
        with self._lock:
            self._waiting.append(entry)
        try:
            await self._engine.compute(permit, lambda: self._work(entry), deadline, abandon=entry.leave)
            # Who got a core before may have taken this item along; its run may still be under way.
            async with asyncio.timeout(deadline.remaining()):
                outcome = await asyncio.wrap_future(entry.outcome)
        except TimeoutError:
            raise DeadlineExceeded from None
        finally:
            entry.leave()
            with self._lock, suppress(ValueError):
                self._waiting.remove(entry)
        return outcome  # type: ignore[return-value]  # made by run_many

    def _work(self, own: _Entry) -> None:
        joined = self._take(own)
        if joined is None:
            return
        for entry, outcome in zip(joined.entries, self._outcomes(joined), strict=True):
            # A caller that left has cancelled its future.
            if entry.outcome.set_running_or_notify_cancel():
                if isinstance(outcome, BaseException):
                    entry.outcome.set_exception(outcome)
                else:
                    entry.outcome.set_result(outcome)

    def _take(self, own: _Entry) -> _Joined | None:
        """Take `own` and the oldest others; None when somebody has taken it along."""
        with self._lock:
            if own.joined is not None or own.has_left:
                return None
            others = [entry for entry in self._waiting if entry is not own and not entry.has_left]
            joined = _Joined([own, *others[: self._max_batch - 1]])
            for entry in joined.entries:
                entry.joined = joined
                self._waiting.remove(entry)
        # Who left between the two looks did not know of this run yet.
        joined.note_departure()
        return joined

    def _outcomes(self, joined: _Joined) -> list[object]:
        items = [entry.item for entry in joined.entries]
        try:
            return [*self._run_checked(items, joined.termination)]
        except Exception as exc:
            if len(items) == 1 or joined.termination.options.terminate:
                return [exc] * len(items)
        return [self._outcome_alone(entry, joined.termination) for entry in joined.entries]

    def _outcome_alone(self, entry: _Entry, termination: Termination) -> object:
        if entry.has_left:
            return None
        try:
            return self._run_checked([entry.item], termination)[0]
        except Exception as exc:
            return exc

    def _run_checked(self, items: list[object], termination: Termination) -> Sequence[object]:
        results = self._run_many(items, termination)  # type: ignore[arg-type]  # items are what `run` was given
        if len(results) != len(items):
            raise InferenceFailed(f"The model gave {len(results)} results for {len(items)} items.")
        return results
