"""The rules by which timings become a plan, as tables."""

import pytest

from inference.engine.plan import (
    BATCH_MARGIN,
    LATENCY_MARGIN,
    Candidate,
    Declared,
    ExecutionPlan,
    Timing,
    choose_plan,
    default_plan,
    is_steady,
    list_candidates,
    override,
)

FREE = Declared()

#: Measured: seconds of a run alone, items a second under load.
ONE_THREAD = Timing(Candidate(1, 2), 0.0069, 292)
TWO_THREADS = Timing(Candidate(2, 1), 0.0053, 187)
SPINNING = Timing(Candidate(2, 1, spinning=True), 0.0037, 267)


def timing(of: Timing, *, alone: float | None = None, rate: float | None = None) -> Timing:
    return Timing(of.candidate, alone or of.alone_seconds, rate or of.items_per_second)


def batched(rate: float, *, threads: int = 1) -> Timing:
    return Timing(Candidate(threads, 2 // threads, batch=4), 0.02, rate)


@pytest.mark.parametrize(
    ("cores", "can_batch", "expected"),
    [
        (1, False, [Candidate(1, 1)]),
        (1, True, [Candidate(1, 1), Candidate(1, 1, batch=4)]),
        (2, False, [Candidate(1, 2), Candidate(2, 1), Candidate(2, 1, spinning=True)]),
        (
            6,
            True,
            [
                *[Candidate(1, 6), Candidate(2, 3), Candidate(4, 1), Candidate(6, 1), Candidate(6, 1, spinning=True)],
                *[Candidate(1, 6, batch=4), Candidate(6, 1, batch=4)],
            ],
        ),
    ],
)
def test_a_handful_of_candidates_never_takes_more_threads_than_there_are_cores(
    cores: int, can_batch: bool, expected: list[Candidate]
) -> None:
    candidates = list_candidates(cores, FREE, can_batch=can_batch)

    assert candidates == expected
    assert all(candidate.threads * candidate.parallel <= cores for candidate in candidates)


def test_what_is_declared_is_not_timed() -> None:
    assert list_candidates(4, Declared(threads=2), can_batch=False) == [Candidate(2, 2)]
    assert list_candidates(4, Declared(threads=2, max_batch=3), can_batch=True) == [Candidate(2, 2)]
    assert {candidate.batch for candidate in list_candidates(2, Declared(max_batch=1), can_batch=True)} == {1}
    assert Declared(threads=1, max_batch=1).is_complete
    assert not Declared(threads=1).is_complete


@pytest.mark.parametrize(
    ("timings", "expected"),
    [
        pytest.param(
            [ONE_THREAD, TWO_THREADS, SPINNING], (1, 2, 1, 2, True), id="one-thread-under-load-all-cores-when-idle"
        ),
        pytest.param(
            [ONE_THREAD, TWO_THREADS, timing(SPINNING, alone=0.0053 / LATENCY_MARGIN * 1.01)],
            (1, 2, 1, 2, False),
            id="spinning-must-gain-a-tenth",
        ),
        pytest.param(
            [ONE_THREAD, timing(TWO_THREADS, alone=0.0065), timing(SPINNING, alone=0.0068)],
            (1, 2, 1, 1, False),
            id="a-second-session-must-gain-a-tenth",
        ),
        pytest.param(
            [ONE_THREAD, timing(TWO_THREADS, rate=340), timing(SPINNING, rate=900)],
            (1, 2, 1, 2, True),
            id="wide-runs-under-load-must-gain-a-quarter-and-never-spin",
        ),
        pytest.param(
            [ONE_THREAD, timing(TWO_THREADS, rate=380), SPINNING],
            (2, 1, 1, 2, True),
            id="wide-runs-under-load-where-they-gain",
        ),
        pytest.param(
            [ONE_THREAD, timing(TWO_THREADS, rate=380, alone=0.0069), timing(SPINNING, alone=0.0069)],
            (2, 1, 1, 2, False),
            id="an-idle-run-has-no-fewer-threads-than-a-loaded-one",
        ),
        pytest.param(
            [ONE_THREAD, TWO_THREADS, SPINNING, batched(292 * BATCH_MARGIN * 0.99)],
            (1, 2, 1, 2, True),
            id="a-batch-must-gain-a-fifth",
        ),
        pytest.param(
            [ONE_THREAD, TWO_THREADS, SPINNING, batched(400), batched(500, threads=2)],
            (2, 1, 4, 2, True),
            id="the-best-batch-brings-its-own-threads",
        ),
        pytest.param(
            [Timing(Candidate(1, 2), 0.0001, 20_000), Timing(Candidate(1, 2, batch=4), 0.0001, 80_000)],
            (1, 2, 1, 1, False),
            id="a-batch-of-tiny-runs-saves-less-than-it-costs",
        ),
        pytest.param(
            [timing(ONE_THREAD, alone=0.02, rate=90), TWO_THREADS, SPINNING, ONE_THREAD, TWO_THREADS, SPINNING],
            (1, 2, 1, 2, True),
            id="a-default-that-was-disturbed-once-loses-nothing",
        ),
        pytest.param(
            [ONE_THREAD, timing(TWO_THREADS, rate=380), SPINNING, ONE_THREAD, TWO_THREADS, SPINNING],
            (1, 2, 1, 2, True),
            id="a-gain-of-throughput-must-show-in-every-round",
        ),
        pytest.param(
            [ONE_THREAD, TWO_THREADS, timing(SPINNING, alone=0.0069), ONE_THREAD, TWO_THREADS, SPINNING],
            (1, 2, 1, 2, True),
            id="of-a-lone-runs-rounds-the-best-one-counts",
        ),
    ],
)
def test_timings_speak_for_a_plan(timings: list[Timing], expected: tuple[int, int, int, int, bool]) -> None:
    plan = choose_plan(timings, FREE, cores=2)

    assert (plan.threads, plan.parallel, plan.max_batch, plan.idle_threads, plan.spinning) == expected
    assert plan.origin == "tuned"
    assert plan.has_idle_lane == (plan.idle_threads > plan.threads or plan.spinning)


def test_rounds_of_the_default_that_disagree_say_nothing_of_the_model() -> None:
    assert is_steady([ONE_THREAD, TWO_THREADS, timing(ONE_THREAD, rate=250), timing(TWO_THREADS, rate=90)])
    assert not is_steady([ONE_THREAD, TWO_THREADS, timing(ONE_THREAD, rate=200)])


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (Declared(), ExecutionPlan(1, 4, 1, 1, False, "default")),
        (Declared(threads=2), ExecutionPlan(2, 2, 1, 2, False, "declared")),
        (Declared(threads=8), ExecutionPlan(8, 1, 1, 8, False, "declared")),
        (Declared(parallel=1), ExecutionPlan(1, 1, 1, 1, False, "declared")),
        (Declared(max_batch=8), ExecutionPlan(1, 4, 8, 1, False, "declared")),
        (Declared(threads=4, parallel=2, max_batch=2), ExecutionPlan(4, 2, 2, 4, False, "declared")),
    ],
)
def test_what_the_author_declares_stands_over_the_plan(declared: Declared, expected: ExecutionPlan) -> None:
    assert override(default_plan(4), declared, 4) == expected


def test_declared_threads_hold_for_idle_runs_too() -> None:
    plan = choose_plan([ONE_THREAD, TWO_THREADS, SPINNING], Declared(threads=1), cores=2)

    assert (plan.threads, plan.idle_threads, plan.has_idle_lane, plan.origin) == (1, 1, False, "declared")
