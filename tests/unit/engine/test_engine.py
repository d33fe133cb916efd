"""Admission, cores and deadlines of the engine, with work that waits on events instead of time."""

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from inference.deadline import Deadline
from inference.engine import Engine, core_pool, stuck
from inference.engine.core_pool import CorePool
from inference.errors import DeadlineExceeded, Overloaded, ShuttingDown


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(cores=1, max_waiting=1)
    yield engine
    engine.close()


class Held:
    """Work that holds its core until it is let go."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.let_go = threading.Event()

    def __call__(self) -> str:
        self.started.set()
        assert self.let_go.wait(120)
        return "done"

    async def has_started(self) -> None:
        assert await asyncio.to_thread(self.started.wait, 120)


def soon() -> Deadline:
    return Deadline.after(120)


def passing() -> Deadline:
    """A deadline that passes while work runs: its thread has begun it by then, and ends in time once it is let go."""
    return Deadline.after(0.5)


async def test_work_runs_on_a_thread_of_the_engine_and_its_value_comes_back(engine: Engine) -> None:
    with engine.admit() as permit:
        computed = await engine.compute(permit, lambda: threading.current_thread().name, soon())

    assert computed.value.startswith("engine")
    assert computed.waited_seconds >= 0


async def test_an_exception_of_the_work_reaches_the_caller_and_frees_the_core(engine: Engine) -> None:
    with engine.admit() as permit:
        with pytest.raises(ZeroDivisionError):
            await engine.compute(permit, lambda: 1 / 0, soon())

        assert (await engine.compute(permit, lambda: 7, soon())).value == 7


async def test_more_than_may_wait_are_refused_at_once_with_a_time_to_come_back(engine: Engine) -> None:
    with engine.admit(), engine.admit(), pytest.raises(Overloaded) as refused, engine.admit():
        pytest.fail("admitted a third image")

    assert refused.value.retry_after_seconds
    with engine.admit():
        pass


async def test_the_time_to_come_back_is_that_of_all_who_wait_at_the_pace_of_late(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter([0.0, 10.0])
    monkeypatch.setattr(core_pool, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    with engine.admit() as permit:
        await engine.compute(permit, lambda: None, soon())

    with engine.admit(), engine.admit(), pytest.raises(Overloaded) as refused, engine.admit():
        pytest.fail("admitted a third image")

    # A tenth of 10 seconds and the rest of the 0.05 that it begins with, for each of two.
    assert refused.value.retry_after_seconds == pytest.approx(2.09)


async def test_work_goes_in_the_order_in_which_it_came(engine: Engine) -> None:
    order: list[int] = []
    held = Held()
    with engine.admit() as permit:
        running = asyncio.create_task(engine.compute(permit, held, soon()))
        await held.has_started()
        waiting = []
        for number in range(3):
            waiting.append(asyncio.create_task(engine.compute(permit, partial(order.append, number), soon())))
            await asyncio.sleep(0)

        held.let_go.set()
        await asyncio.gather(running, *waiting)

    assert order == [0, 1, 2]


async def test_interactive_work_goes_before_batch_work_that_came_earlier(engine: Engine) -> None:
    order: list[str] = []
    held = Held()
    with engine.admit() as permit:
        running = asyncio.create_task(engine.compute(permit, held, soon()))
        await held.has_started()
        batch = asyncio.create_task(engine.compute(engine.admit_batch(), lambda: order.append("batch"), soon()))
        await asyncio.sleep(0)
        interactive = asyncio.create_task(engine.compute(permit, lambda: order.append("interactive"), soon()))
        await asyncio.sleep(0)

        held.let_go.set()
        await asyncio.gather(running, batch, interactive)

    assert order == ["interactive", "batch"]


async def test_a_caller_that_leaves_while_waiting_costs_nothing(engine: Engine) -> None:
    held = Held()
    ran: list[int] = []
    with engine.admit() as permit:
        running = asyncio.create_task(engine.compute(permit, held, soon()))
        await held.has_started()
        leaving = asyncio.create_task(engine.compute(permit, lambda: ran.append(1), soon()))
        staying = asyncio.create_task(engine.compute(permit, lambda: ran.append(2), soon()))
        await asyncio.sleep(0)

        leaving.cancel()
        await asyncio.wait({leaving})
        held.let_go.set()
        await asyncio.gather(running, staying)

    assert ran == [2]
    assert leaving.cancelled()


async def test_a_caller_that_leaves_just_as_it_gets_the_core_does_not_lose_it_for_the_others(engine: Engine) -> None:
    held = Held()
    with engine.admit() as permit:
        running = asyncio.create_task(engine.compute(permit, held, soon()))
        await held.has_started()
        leaving = asyncio.create_task(engine.compute(permit, lambda: None, soon()))
        await asyncio.sleep(0)

        held.let_go.set()
        # The grant is made when `running` ends, in the same turn of the loop as this cancellation.
        running.add_done_callback(lambda _: leaving.cancel())
        await asyncio.gather(running, leaving, return_exceptions=True)

        assert (await engine.compute(permit, lambda: "free", soon())).value == "free"


async def test_a_deadline_ends_running_work_and_the_core_is_free_once_the_thread_is(engine: Engine) -> None:
    held = Held()
    with engine.admit() as permit:
        with pytest.raises(DeadlineExceeded):
            await engine.compute(permit, held, passing(), abandon=held.let_go.set)

        assert (await engine.compute(permit, lambda: "free", soon())).value == "free"


async def test_a_deadline_passes_while_waiting_for_a_core(engine: Engine) -> None:
    held = Held()
    with engine.admit() as permit:
        running = asyncio.create_task(engine.compute(permit, held, soon()))
        await held.has_started()
        with pytest.raises(DeadlineExceeded):
            await engine.compute(permit, lambda: None, Deadline.after(0.01))
        # That an item of a batch got no core is not its fault, so it is not charged for it.
        with pytest.raises(Overloaded):
            await engine.compute(engine.admit_batch(), lambda: None, Deadline.after(0.01))
        held.let_go.set()
        await running


@pytest.mark.parametrize("is_left", [False, True])
async def test_work_of_a_batch_that_never_comes_back_is_reported_before_its_item_is(is_left: bool) -> None:
    stuck = asyncio.Event()
    engine = Engine(1, 0, on_stuck=stuck.set)
    held = Held()
    computing = asyncio.create_task(engine.compute(engine.admit_batch(), held, passing()))
    await held.has_started()
    if is_left:
        computing.cancel()
    else:
        await stuck.wait()
        assert not computing.done()
    held.let_go.set()
    with pytest.raises(asyncio.CancelledError if is_left else DeadlineExceeded):
        await computing
    engine.close()


@pytest.mark.parametrize("is_left", [False, True])
async def test_work_of_a_request_that_never_comes_back_is_reported_after_its_caller_went(
    monkeypatch: pytest.MonkeyPatch, is_left: bool
) -> None:
    monkeypatch.setattr(stuck, "_INTERACTIVE_SECONDS", 0.0)
    reported, held, now = asyncio.Event(), Held(), [100.0]
    engine = Engine(1, 0, on_stuck=reported.set)
    deadline = Deadline.after(10 if is_left else 2, clock=lambda: now[0])
    with engine.admit() as permit:
        computing = asyncio.create_task(engine.compute(permit, held, deadline))
        await held.has_started()
        now[0] += 10
        if is_left:
            computing.cancel()
        with pytest.raises(asyncio.CancelledError if is_left else DeadlineExceeded):
            await computing

    async with asyncio.timeout(120):
        await reported.wait()
    held.let_go.set()
    engine.close()


async def test_work_that_ends_soon_after_its_deadline_is_not_stuck() -> None:
    stuck = asyncio.Event()
    engine = Engine(1, 0, on_stuck=stuck.set)
    held = Held()
    with pytest.raises(DeadlineExceeded):
        await engine.compute(engine.admit_batch(), held, passing(), abandon=held.let_go.set)
    with engine.admit() as permit:
        assert (await engine.compute(permit, lambda: "free", soon())).value == "free"
    assert not stuck.is_set()
    engine.close()


async def test_work_that_got_its_core_at_the_last_moment_has_the_grace_of_its_whole_time() -> None:
    stuck = asyncio.Event()
    engine = Engine(1, 0, on_stuck=stuck.set)
    held, loop = Held(), asyncio.get_running_loop()

    def end_soon() -> None:
        loop.call_later(0.1, held.let_go.set)

    whole = Deadline.after(60)
    after_a_slow_fetch = replace(whole, at=whole.at - 59.5)
    with pytest.raises(DeadlineExceeded):
        await engine.compute(engine.admit_batch(), held, after_a_slow_fetch, abandon=end_soon)
    engine.close()

    assert not stuck.is_set()


async def test_work_sees_the_context_of_its_caller(engine: Engine) -> None:
    from inference.telemetry import _labels, labelled

    with engine.admit() as permit, labelled(model="digits"):
        computed = await engine.compute(permit, lambda: dict(_labels.get()), soon())

    assert computed.value == {"model": "digits"}


@pytest.mark.parametrize("seconds", [0, -1])
def test_a_deadline_with_nothing_left_says_so(seconds: float) -> None:
    with pytest.raises(DeadlineExceeded):
        Deadline.after(seconds, clock=lambda: 5.0).remaining()


@pytest.fixture
def pair() -> Iterator[Engine]:
    engine = Engine(cores=2, max_waiting=4)
    yield engine
    engine.close()


def alone(engine: Engine) -> bool:
    with engine.alone() as is_alone:
        return is_alone


async def test_work_is_alone_when_nothing_else_computes_or_was_admitted(pair: Engine) -> None:
    with pair.admit() as permit:
        assert (await pair.compute(permit, lambda: alone(pair), soon())).value
        with pair.admit():
            assert not (await pair.compute(permit, lambda: alone(pair), soon())).value


async def test_work_is_not_alone_as_long_as_its_company_may_come_back() -> None:
    now = [100.0]
    pair = Engine(cores=2, max_waiting=4, clock=lambda: now[0])
    with pair.admit() as permit:
        with pair.admit():
            pass
        beside = (await pair.compute(permit, lambda: alone(pair), soon())).value
        now[0] += 1.0
        later = (await pair.compute(permit, lambda: alone(pair), soon())).value
    pair.close()

    assert (beside, later) == (False, True)


async def test_work_is_not_alone_beside_other_work(pair: Engine) -> None:
    held = Held()
    running = asyncio.create_task(pair.compute(pair.admit_batch(), held, soon()))
    await held.has_started()

    assert not (await pair.compute(pair.admit_batch(), lambda: alone(pair), soon())).value

    held.let_go.set()
    await running


async def test_work_that_comes_meanwhile_waits_until_it_is_no_longer_alone(pair: Engine) -> None:
    held, order = Held(), list[str]()

    def work() -> None:
        with pair.alone():
            held()
            order.append("alone")

    running = asyncio.create_task(pair.compute(pair.admit_batch(), work, soon()))
    await held.has_started()
    others = [
        asyncio.create_task(pair.compute(pair.admit_batch(), lambda: order.append("other"), soon())) for _ in range(2)
    ]
    await asyncio.sleep(0)
    held.let_go.set()
    await asyncio.gather(running, *others)

    assert order == ["alone", "other", "other"]
    # Every core is back.
    assert (await pair.compute(pair.admit_batch(), lambda: alone(pair), soon())).value


async def test_one_core_is_never_all_of_them_at_once(engine: Engine) -> None:
    assert not (await engine.compute(engine.admit_batch(), lambda: alone(engine), soon())).value


async def test_engine_is_quiet_only_when_nothing_is_admitted_or_computed(pair: Engine) -> None:
    assert pair.is_quiet(0.0)
    assert not pair.is_quiet(3600.0)
    with pair.admit():
        assert not pair.is_quiet(0.0)
    held = Held()
    running = asyncio.create_task(pair.compute(pair.admit_batch(), held, soon()))
    await held.has_started()
    assert not pair.is_quiet(0.0)
    held.let_go.set()
    await running
    assert pair.is_quiet(0.0)


def test_service_that_was_just_asked_is_not_quiet_though_nothing_was_computed() -> None:
    now = [100.0]
    engine = Engine(cores=1, max_waiting=1, clock=lambda: now[0])
    now[0] = 200.0
    with engine.admit():  # and its image cannot be fetched
        pass

    quiet = [engine.is_quiet(50.0)]
    now[0] = 250.0
    quiet.append(engine.is_quiet(50.0))
    engine.close()

    assert quiet == [False, True]


def test_work_that_ends_its_thread_gives_its_core_back() -> None:
    pool = CorePool(1, lambda _: None)

    work = pool.submit(sys.exit, is_interactive=False)

    assert isinstance(work.future.exception(120), SystemExit)
    assert pool.is_unused
    pool.close()


async def test_work_that_waits_or_comes_when_the_engine_is_closed_is_told_so() -> None:
    engine, held = Engine(1, 4), Held()
    with engine.admit() as permit:
        running = asyncio.create_task(engine.compute(permit, held, soon()))
        await held.has_started()
        permits = [permit, engine.admit_batch()]
        waiting = [asyncio.create_task(engine.compute(each, held, soon())) for each in permits]
        await asyncio.sleep(0)

        engine.close()

        for task in waiting:
            with pytest.raises(ShuttingDown):
                await task
        for each in permits:
            with pytest.raises(ShuttingDown):
                await engine.compute(each, held, soon())
        held.let_go.set()
        assert (await running).value == "done"


def test_work_that_waits_when_the_cores_are_closed_is_cancelled() -> None:
    pool, held = CorePool(1, lambda _: None), Held()
    running = pool.submit(held, is_interactive=True)
    assert held.started.wait(120)
    waiting = [pool.submit(held, is_interactive=is_interactive) for is_interactive in (True, False)]

    pool.close()

    assert [work.future.cancelled() for work in waiting] == [True, True]
    held.let_go.set()
    assert running.future.result(120) == "done"


def test_core_that_work_waits_for_is_not_spare() -> None:
    is_ending, go_on, ask = threading.Event(), threading.Event(), threading.Event()

    def on_ended(_: float) -> None:
        is_ending.set()
        assert go_on.wait(120)

    pool = CorePool(2, on_ended)

    def take() -> bool:
        assert ask.wait(120)
        try:
            return pool.take_spare()
        finally:
            go_on.set()

    taking = pool.submit(take, is_interactive=False)
    pool.submit(lambda: None, is_interactive=False)
    assert is_ending.wait(120)  # its core is free, and its thread about to take what waits
    pool.submit(lambda: None, is_interactive=False)
    ask.set()

    assert not taking.future.result(120)
    pool.close()


async def test_work_that_waits_for_others_of_its_kind_leaves_the_cores_to_the_rest() -> None:
    engine, turns = Engine(cores=2, max_waiting=9), threading.Semaphore(1)
    first, second = Held(), Held()
    with engine.admit() as permit:
        computing = [asyncio.create_task(engine.compute(permit, held, soon(), turns=turns)) for held in (first, second)]
        await first.has_started()

        assert (await engine.compute(permit, lambda: 7, soon())).value == 7
        assert not second.started.is_set()

        first.let_go.set()
        await second.has_started()
        second.let_go.set()
        assert [computed.value for computed in await asyncio.gather(*computing)] == ["done", "done"]
    engine.close()


async def test_work_that_left_before_its_turn_never_begins_and_the_next_has_it() -> None:
    engine, turns = Engine(cores=2, max_waiting=9), threading.Semaphore(1)
    first, late = Held(), Held()
    with engine.admit() as permit:
        computing = asyncio.create_task(engine.compute(permit, first, soon(), turns=turns))
        await first.has_started()
        with pytest.raises(DeadlineExceeded):
            await engine.compute(permit, late, Deadline.after(0.05), turns=turns)
        following = asyncio.create_task(engine.compute(permit, lambda: 8, soon(), turns=turns))

        first.let_go.set()
        assert (await computing).value == "done"
        assert (await following).value == 8
        assert not late.started.is_set()
    engine.close()


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", ""]), st.booleans()), max_size=30),
    st.integers(1, 3),
    st.integers(1, 2),
)
def test_all_work_is_done_and_never_more_of_a_kind_at_once_than_may_be(
    works: list[tuple[str, bool]], cores: int, most: int
) -> None:
    pool = CorePool(cores, lambda _: None)
    turns = {"a": threading.Semaphore(most), "b": threading.Semaphore(1)}
    lock, running, seen = threading.Lock(), Counter[str](), Counter[str]()

    def work(kind: str) -> str:
        with lock:
            running[kind] += 1
            seen[kind] = max(seen[kind], running[kind])
        with lock:
            running[kind] -= 1
        return kind

    submitted = [
        pool.submit(partial(work, kind), is_interactive=is_interactive, turns=turns.get(kind))
        for kind, is_interactive in works
    ]

    assert [each.future.result(120) for each in submitted] == [kind for kind, _ in works]
    assert seen["a"] <= most
    assert seen["b"] <= 1
    pool.close()
