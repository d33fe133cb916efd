"""Owns the question whether a measurement had the machine to itself: CPU that others took, and CPU of who is measured.

It refuses to throw anything away: of several tries the one that others disturbed least is kept, and how much they did.
"""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

#: Of all cores' time; the system's own housekeeping stays below.
QUIET_SHARE = 0.06


@dataclass(frozen=True, slots=True)
class Observed[T]:
    """What a measurement gave, and what it and others took meanwhile."""

    value: T
    #: CPU seconds of the processes that were watched.
    cpu_seconds: float
    #: The share of all cores' time that others took.
    foreign: float


def measure_quietly[T](measure: Callable[[], T], pid: int | None, tries: int) -> Observed[T]:
    """Measure until nobody disturbs it, at most so many times; return the quietest.

    `pid` is the server that is watched, with its children; None: what `measure` starts itself.
    """
    best: Observed[T] | None = None
    for _ in range(max(1, tries)):
        observed = _observe(measure, pid)
        if best is None or observed.foreign < best.foreign:
            best = observed
        if best.foreign <= QUIET_SHARE:
            break
    assert best is not None
    return best


def _observe[T](measure: Callable[[], T], pid: int | None) -> Observed[T]:
    begun, busy, children = time.perf_counter(), _busy_seconds(), _own_seconds()
    server = _tree_seconds(pid)
    value = measure()
    elapsed = time.perf_counter() - begun
    own, watched = _own_seconds() - children, _tree_seconds(pid) - server
    taken = _busy_seconds() - busy - own - watched
    cores = psutil.cpu_count() or 1
    return Observed(value, watched if pid is not None else own, max(0.0, taken) / (elapsed * cores))


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def _own_seconds() -> float:
    """CPU of this process and of those that it started and that have ended."""
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _tree_seconds(pid: int | None) -> float:
    if pid is None:
        return 0.0
    main, seconds = psutil.Process(pid), 0.0
    for process in (main, *main.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            seconds += times.user + times.system
    return seconds
