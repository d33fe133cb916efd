"""Times the ways to run a model, each for a moment, on the machine as it is.

It refuses to choose, and to go on when it is told that somebody else needs the cores.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from inference.engine.plan import Candidate, Timing

#: For each candidate, in parallel, and half of it alone: long enough for a handful of runs of a model of 10 ms.
WINDOW_SECONDS = 0.08

#: Runs so many items at once; returns when they are done.
type Run = Callable[[int], None]

#: Opens a way to run on so many threads, spinning or not.
type OpenRun = Callable[[int, bool], Run]


class Interrupted(Exception):
    """Somebody needs the cores; what was measured until then is worth nothing."""


def measure(candidate: Candidate, run: Run, is_free: Callable[[], bool]) -> Timing:
    """Time one candidate. Raises Interrupted as soon as `is_free` says no, and whatever `run` raises."""
    run(candidate.batch)  # the first run of a session makes room for its results
    alone = _time_alone(candidate, run, is_free)
    return Timing(candidate, alone, _time_parallel(candidate, run, is_free))


def _time_alone(candidate: Candidate, run: Run, is_free: Callable[[], bool]) -> float:
    best, until = float("inf"), time.perf_counter() + WINDOW_SECONDS / 2
    while True:
        _check(is_free)
        begun = time.perf_counter()
        run(candidate.batch)
        ended = time.perf_counter()
        best = min(best, ended - begun)
        if ended >= until:
            return best


def _time_parallel(candidate: Candidate, run: Run, is_free: Callable[[], bool]) -> float:
    """Return items a second with `parallel` runs going at once."""
    counts: list[int] = []
    errors: list[Exception] = []
    begun = time.perf_counter()
    until = begun + WINDOW_SECONDS

    def keep_running() -> None:
        count = 0
        try:
            while time.perf_counter() < until or not count:
                _check(is_free)
                run(candidate.batch)
                count += candidate.batch
        except Exception as exc:  # it is raised below, by the thread that asked
            errors.append(exc)
        counts.append(count)

    _run_all([threading.Thread(target=keep_running, daemon=True) for _ in range(candidate.parallel)])
    if errors:
        # The list and its exceptions, whose tracebacks lead back here, would hold each other, and with them the
        # model's sessions that ran: memory and files that nobody frees before the garbage collector comes by.
        del errors[1:]
        raise errors.pop()
    return sum(counts) / (time.perf_counter() - begun)


def _run_all(threads: Iterable[threading.Thread]) -> None:
    started = [*threads]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()


def _check(is_free: Callable[[], bool]) -> None:
    if not is_free():
        raise Interrupted
