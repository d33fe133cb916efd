"""When models are timed, what they run by until then, and that nothing of it can stop them from serving."""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from inference.engine import measurement
from inference.engine import tuner as tuner_module
from inference.engine.measurement import OpenRun, Run
from inference.engine.plan import Declared, ExecutionPlan, default_plan
from inference.engine.plan_cache import PlanCache
from inference.engine.tuner import Tuner, TuningMode
from inference.errors import ModelUnavailable


class Model:
    """A model whose runs take no time; it tells when a plan was adopted."""

    def __init__(self, declared: Declared = Declared()) -> None:  # noqa: B008 -- frozen
        self.sha256 = "sha"
        self.declared = declared
        self.can_batch = True
        self.plans: list[ExecutionPlan] = []
        self.adopted = threading.Semaphore(0)
        self.opened: list[tuple[int, bool]] = []
        self.failing: Callable[[int, int], bool] = lambda *_: False

    @contextmanager
    def trial(self, is_free: Callable[[], bool]) -> Iterator[OpenRun]:
        del is_free  # its runs take no time
        yield self._open_run

    def _open_run(self, threads: int, spinning: bool) -> Run:
        self.opened.append((threads, spinning))

        def run(items: int) -> None:
            if self.failing(threads, items):
                raise ModelUnavailable("It cannot.")

        return run

    def adopt(self, plan: ExecutionPlan) -> None:
        self.plans.append(plan)
        self.adopted.release()

    def wait(self, count: int) -> None:
        for _ in range(count):
            assert self.adopted.acquire(timeout=120)


class Activity:
    """Whether the service is quiet, as its engine would say; it can be busy for a number of looks."""

    def __init__(self) -> None:
        self.busy_looks = 0
        self.looks = 0

    def __call__(self, seconds: float) -> bool:
        self.looks += 1
        if self.busy_looks:
            self.busy_looks -= 1
            return False
        return True


@pytest.fixture(autouse=True)
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that take no time need no time to be timed."""
    monkeypatch.setattr(measurement, "WINDOW_SECONDS", 0.004)


@pytest.fixture(autouse=True)
def steadiness(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the machine is steady, a time each, and from then on; the one that tests run on is often not."""
    answers: list[bool] = []
    monkeypatch.setattr(tuner_module, "is_steady", lambda _: answers.pop(0) if answers else True)
    return answers


@pytest.fixture
def activity() -> Activity:
    return Activity()


@pytest.fixture
def open_tuner(tmp_path: Path, activity: Activity) -> Iterator[Callable[[TuningMode], Tuner]]:
    tuners: list[Tuner] = []

    def make(mode: TuningMode) -> Tuner:
        cache = PlanCache(str(tmp_path), "runtime", "processor")
        tuners.append(Tuner(mode, 2, cache, activity, quiet_seconds=0.01))
        return tuners[-1]

    yield make
    for tuner in tuners:
        tuner.close()


type Open = Callable[[TuningMode], Tuner]


def test_model_serves_by_the_default_plan_at_once_and_by_a_tuned_one_later(open_tuner: Open) -> None:
    model = Model()

    open_tuner("background").offer(model)

    assert model.plans[0] == default_plan(2)
    model.wait(2)
    assert [plan.origin for plan in model.plans] == ["default", "tuned"]
    assert {(1, False), (2, False), (2, True)} == set(model.opened)


def test_warm_up_tunes_before_the_model_is_given_out(open_tuner: Open) -> None:
    model = Model()

    open_tuner("warm-up").offer(model)

    assert [plan.origin for plan in model.plans] == ["default", "tuned"]


def test_off_leaves_the_default(open_tuner: Open) -> None:
    model = Model()

    open_tuner("off").offer(model)

    assert (model.plans, model.opened) == ([default_plan(2)], [])
    assert "tuner" not in {thread.name for thread in threading.enumerate()}  # that would time it a moment later


def test_plan_that_was_found_before_is_taken_from_the_cache(open_tuner: Open) -> None:
    open_tuner("warm-up").offer(Model())
    model = Model()

    open_tuner("warm-up").offer(model)

    assert [plan.origin for plan in model.plans] == ["default", "tuned"]
    assert model.opened == []


def test_plan_from_the_cache_waits_for_no_quiet(open_tuner: Open, activity: Activity) -> None:
    open_tuner("warm-up").offer(Model())
    activity.busy_looks = 1_000_000
    tuner, unknown, known = open_tuner("background"), Model(), Model()
    unknown.sha256 = "another"

    tuner.offer(unknown)
    tuner.offer(known)

    known.wait(2)
    assert (known.plans[-1].origin, known.opened) == ("tuned", [])
    assert unknown.opened == []


def test_what_the_author_declares_is_adopted_and_not_timed(open_tuner: Open) -> None:
    model = Model(Declared(threads=2, max_batch=1))

    open_tuner("background").offer(model)

    assert (model.plans, model.opened) == ([ExecutionPlan(2, 1, 1, 2, False, "declared")], [])


def test_timing_waits_for_quiet_and_begins_again_when_work_came(open_tuner: Open, activity: Activity) -> None:
    model = Model()
    activity.busy_looks = 3
    came = iter([True, False])

    def come_once(threads: int, items: int) -> bool:
        if threads == 2 and next(came, False):
            activity.busy_looks = 2
        return False

    model.failing = come_once
    open_tuner("background").offer(model)

    model.wait(2)
    assert model.plans[-1].origin == "tuned"
    # The first try ended in the midst of the second candidate; the second one saw all of them.
    assert model.opened[:3] == [(1, False), (2, False), (1, False)]


def test_way_that_the_model_cannot_run_is_not_chosen(open_tuner: Open) -> None:
    model = Model()
    model.failing = lambda threads, items: items > 1 or threads > 1

    open_tuner("warm-up").offer(model)

    plan = model.plans[-1]
    assert (plan.threads, plan.max_batch, plan.idle_threads, plan.origin) == (1, 1, 1, "tuned")


def test_model_that_cannot_be_timed_goes_on_by_its_default(open_tuner: Open, caplog: pytest.LogCaptureFixture) -> None:
    model = Model()
    model.failing = lambda *_: True

    open_tuner("warm-up").offer(model)

    assert model.plans == [default_plan(2)]
    assert [vars(record)["reason"] for record in caplog.records] == ["It cannot."]
    assert caplog.messages == ["model sha not tuned: It cannot."]


def test_model_that_fails_in_a_way_nobody_foresaw_still_serves(
    open_tuner: Open, caplog: pytest.LogCaptureFixture
) -> None:
    model = Model()

    def fail(threads: int, items: int) -> bool:
        raise ZeroDivisionError

    model.failing = fail

    open_tuner("warm-up").offer(model)

    assert model.plans == [default_plan(2)]
    assert [vars(record)["reason"] for record in caplog.records] == ["ZeroDivisionError"]


def test_model_that_only_real_requests_can_run_is_left_alone(
    open_tuner: Open, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model()
    monkeypatch.setattr(model, "trial", lambda _: nullcontext())

    open_tuner("warm-up").offer(model)

    assert model.plans == [default_plan(2)]
    assert caplog.records == []


def test_plan_that_was_found_under_another_declaration_is_not_taken(open_tuner: Open) -> None:
    open_tuner("warm-up").offer(Model())
    model = Model(Declared(threads=2))

    open_tuner("warm-up").offer(model)

    assert {threads for threads, _ in model.opened} == {2}


def test_model_that_takes_one_item_a_run_is_given_no_more(open_tuner: Open) -> None:
    model, most = Model(), [0]
    model.can_batch = False

    def note(threads: int, items: int) -> bool:
        most[0] = max(most[0], items)
        return False

    model.failing = note

    open_tuner("warm-up").offer(model)

    assert most == [1]


@pytest.mark.parametrize("is_tuned", [False, True], ids=["waits", "is tuned"])
def test_model_that_is_dropped_is_kept_by_nothing_here(open_tuner: Open, activity: Activity, is_tuned: bool) -> None:
    activity.busy_looks = 0 if is_tuned else 1_000_000
    model, is_gone = Model(), threading.Event()
    weakref.finalize(model, is_gone.set)
    open_tuner("background").offer(model)
    if is_tuned:
        model.wait(2)

    del model

    assert is_gone.wait(120)


def test_model_that_comes_once_all_are_tuned_and_memory_was_given_back_is_tuned_too(
    open_tuner: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back = threading.Semaphore(0)
    monkeypatch.setattr(tuner_module, "give_back_freed_memory", given_back.release)
    tuner, first, second = open_tuner("background"), Model(), Model()
    second.sha256 = "another"
    tuner.offer(first)
    # What the sessions had that were tried, and once it is quiet, what the first plan's had.
    for _ in range(2):
        assert given_back.acquire(timeout=120)

    # The thread has the lock until it waits, and would wait for ever if this did not wake it.
    tuner.offer(second)

    second.wait(2)
    assert second.plans[-1].origin == "tuned"


@pytest.mark.parametrize("mode", ["background", "warm-up"])
def test_close_ends_what_is_being_timed(open_tuner: Open, mode: TuningMode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement, "WINDOW_SECONDS", 600.0)
    tuner, model, runs = open_tuner(mode), Model(), threading.Event()

    def run(threads: int, items: int) -> bool:
        runs.set()
        return False

    model.failing = run
    working = [threading.Thread(target=lambda: tuner.offer(model)), threading.Thread(target=tuner.close)]
    working[0].start()
    assert runs.wait(120)
    working[1].start()
    for thread in working:
        thread.join(120)
    still_working = [thread for thread in working if thread.is_alive()]
    model.failing = lambda *_: True

    assert (still_working, model.plans) == ([], [default_plan(2)])


def test_model_that_was_dropped_meanwhile_is_forgotten(open_tuner: Open, activity: Activity) -> None:
    activity.busy_looks = 1_000_000
    tuner, kept = open_tuner("background"), Model()
    tuner.offer(Model())
    tuner.offer(kept)

    activity.busy_looks = 0

    kept.wait(2)
    assert kept.plans[-1].origin == "tuned"


def test_models_that_were_dropped_leave_nothing_behind_where_it_is_never_quiet(
    open_tuner: Open, activity: Activity
) -> None:
    activity.busy_looks = 1_000_000
    tuner = open_tuner("background")

    for _ in range(100):
        tuner.offer(Model())

    gc.collect()
    assert sum(isinstance(thing, tuner_module._Pending) for thing in gc.get_objects()) <= 2


def test_close_ends_the_thread_while_it_waits_for_quiet(open_tuner: Open, activity: Activity) -> None:
    activity.busy_looks = 1_000_000
    tuner = open_tuner("background")
    tuner.offer(Model())

    tuner.close()

    assert "tuner" not in {thread.name for thread in threading.enumerate()}


def test_plan_is_not_made_while_the_machine_is_unsteady(open_tuner: Open, steadiness: list[bool]) -> None:
    steadiness += [False, False, True]
    model = Model()

    open_tuner("background").offer(model)

    model.wait(2)
    assert [plan.origin for plan in model.plans] == ["default", "tuned"]
    assert steadiness == []


def test_model_that_waits_for_a_steady_machine_holds_up_no_other(
    tmp_path: Path, activity: Activity, steadiness: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuner_module, "ROUNDS", 1)  # no pause between rounds
    steadiness += [False, True]
    first, second, third = Model(), Model(), Model()
    second.sha256, third.sha256 = "another", "a third"
    tuner = Tuner("background", 2, PlanCache(str(tmp_path), "runtime", "processor"), activity, quiet_seconds=600.0)

    tuner.offer(first)
    tuner.offer(second)

    second.wait(2)
    # By now the first one stands before it, but for its pause.
    tuner.offer(third)
    third.wait(2)
    tuner.close()
    assert (third.plans[-1].origin, first.plans) == ("tuned", [default_plan(2)])


def test_warm_up_on_an_unsteady_machine_leaves_the_default_and_keeps_no_plan(
    open_tuner: Open, steadiness: list[bool], tmp_path: Path
) -> None:
    steadiness += [False]
    model = Model()

    open_tuner("warm-up").offer(model)

    assert model.plans == [default_plan(2)]
    assert [*tmp_path.iterdir()] == []
