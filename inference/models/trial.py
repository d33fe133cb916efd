"""Trial runs: what is timed while nobody needs the cores.

It refuses to go on with a run once somebody does: one of a large model may hold every core for seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from inference.engine.measurement import Interrupted
from inference.engine.termination import Termination

#: Between two looks whether somebody needs the cores.
_LOOK_SECONDS = 0.02


class TrialRuns:
    """Runs of one trial, at once or one after the other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: set[Termination] = set()

    def run(self, session: Any, names: Sequence[str], feeds: Mapping[str, Any]) -> Sequence[Any]:
        """Run once. Raises Interrupted for a run that was ended, and whatever onnxruntime raises."""
        termination = Termination()
        with self._lock:
            self._under_way.add(termination)
        try:
            outputs: Sequence[Any] = session.run(names, feeds, termination.options)
        except Exception:  # onnxruntime's errors have no common base
            if termination.options.terminate:
                raise Interrupted from None
            raise
        finally:
            with self._lock:
                self._under_way.discard(termination)
        return outputs

    @contextmanager
    def watched(self, is_free: Callable[[], bool]) -> Iterator[None]:
        """End the runs that are under way inside soon after `is_free` says no."""
        is_over = threading.Event()

        def watch() -> None:
            while not is_over.wait(_LOOK_SECONDS):
                with self._lock:
                    under_way = [*self._under_way]
                if under_way and not is_free():
                    for termination in under_way:
                        termination.end()

        thread = threading.Thread(target=watch, name="trial", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
