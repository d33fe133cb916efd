"""Work that does not come back after its deadline: how long it is waited for, and what is called when it never does.

No thread can be ended from outside, so its core, and perhaps a lock, is gone for good. It refuses to end the process
itself: who builds the engine says what to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from inference.deadline import Deadline

#: After its deadline, for work of a batch: less than the second net below the scorer leaves (batch/scoring.py), so that
#: the process ends before its part is written, and its neighbours are not charged for what one item did.
_BATCH_SECONDS = 4.0
#: The same as a share of all that the item was given, for short deadlines; not of what a slow fetch left of it:
#: an image that gets its core at the last moment takes as long as any other.
_BATCH_SHARE = 0.8
#: For a request, whose caller has had its answer.
_INTERACTIVE_SECONDS = 30.0


class StuckWatch:
    """Calls `on_stuck` once work has not ended so long after its deadline; None watches nothing."""

    def __init__(self, on_stuck: Callable[[], None] | None) -> None:
        self._on_stuck = on_stuck

    async def wait(self, running: asyncio.Future[Any], deadline: Deadline) -> None:
        """Wait for work of a batch to end, though nobody wants its value."""
        if self._on_stuck is None:
            return
        grace = min(_BATCH_SECONDS, _BATCH_SHARE * deadline.given_seconds)
        self._call_later(running, deadline, grace)
        await asyncio.wait({running}, timeout=_seconds_until(deadline) + grace)

    def watch(self, running: asyncio.Future[Any], deadline: Deadline) -> None:
        """Watch work whose caller does not wait."""
        self._call_later(running, deadline, _INTERACTIVE_SECONDS)

    def _call_later(self, running: asyncio.Future[Any], deadline: Deadline, grace: float) -> None:
        on_stuck = self._on_stuck
        if on_stuck is None:
            return

        def check() -> None:
            if not running.done():
                on_stuck()

        timer = asyncio.get_running_loop().call_later(_seconds_until(deadline) + grace, check)
        running.add_done_callback(lambda _: timer.cancel())


def _seconds_until(deadline: Deadline) -> float:
    return max(0.0, deadline.at - deadline.clock())
