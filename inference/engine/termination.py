"""How a model's run is ended from outside: onnxruntime looks at `RunOptions.terminate` between two nodes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnxruntime

from inference.errors import DeadlineExceeded

#: How often who waits for a turn looks whether the run is still wanted.
_LOOK_SECONDS = 0.05


class Termination:
    """One run's way to be ended; pass `options` to the run."""

    __slots__ = ("options",)

    def __init__(self) -> None:
        self.options: Any = onnxruntime.RunOptions()

    def end(self) -> None:
        """End the run soon; one that has not started ends at once."""
        self.options.terminate = True

    def check(self) -> None:
        """Raise DeadlineExceeded once the run was ended: for long work before it, in which onnxruntime cannot look."""
        _check(self.options)


@contextmanager
def turn(turns: threading.Semaphore, run_options: Any) -> Iterator[None]:
    """Hold one of `turns` for a run. Raises DeadlineExceeded once the run was ended, also while it waits.

    Who waited on would hold a core for nobody, and would be taken for work that never returns.
    """
    while not turns.acquire(timeout=_LOOK_SECONDS):
        _check(run_options)
    try:
        _check(run_options)
        yield
    finally:
        turns.release()


def _check(run_options: Any) -> None:
    if run_options is not None and run_options.terminate:
        raise DeadlineExceeded
