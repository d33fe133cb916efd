"""Timing of one candidate: what runs, how much at once, and that it stops when somebody needs the cores."""

import gc
import itertools
import threading
import weakref

import pytest

from inference.engine.measurement import Interrupted, measure
from inference.engine.plan import Candidate


class Work:
    """A run that counts, and holds its fellows until as many are in it as should be."""

    def __init__(self) -> None:
        self.items: list[int] = []
        self.inside = 0
        self.most_inside = 0
        self._lock = threading.Lock()

    def __call__(self, items: int) -> None:
        with self._lock:
            self.items.append(items)
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        # Long enough a turn that threads which are let run at once meet here.
        sum(range(20_000))
        with self._lock:
            self.inside -= 1


def test_a_candidate_is_timed_alone_and_with_as_many_runs_at_once_as_it_says() -> None:
    work = Work()

    timing = measure(Candidate(1, 2, batch=4), work, lambda: True)

    assert set(work.items) == {4}
    assert work.most_inside <= 2
    assert timing.candidate == Candidate(1, 2, batch=4)
    assert 0 < timing.alone_seconds < 1
    assert timing.items_per_second > 0


@pytest.mark.parametrize("free_for", [0, 1, 3])
def test_it_is_given_up_as_soon_as_somebody_needs_the_cores(free_for: int) -> None:
    looks, work = itertools.count(), Work()

    with pytest.raises(Interrupted):
        measure(Candidate(1, 2), work, lambda: next(looks) < free_for)

    # The first run, which makes room, and one for each time that it was free.
    assert len(work.items) == free_for + 1


def test_what_ran_is_free_as_soon_as_its_timing_was_given_up() -> None:
    work = Work()
    ran = weakref.ref(work)

    def is_free() -> bool:
        return threading.current_thread() is threading.main_thread()  # alone, and not with others

    gc.collect()
    gc.disable()
    try:
        try:
            measure(Candidate(1, 2), work, is_free)
        except Interrupted:
            del work
        assert ran() is None
    finally:
        gc.enable()


def test_an_error_of_a_run_is_raised_to_who_asked() -> None:
    calls = itertools.count()

    def fail_in_parallel(items: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise ZeroDivisionError(next(calls))

    with pytest.raises(ZeroDivisionError):
        measure(Candidate(1, 2), fail_in_parallel, lambda: True)
