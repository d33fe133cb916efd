"""Items joined in one run: whose answer is whose, and what one of them cannot do to the others."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

import pytest

from inference.deadline import Deadline
from inference.engine import Engine
from inference.engine.batching import Batcher
from inference.engine.termination import Termination
from inference.errors import DeadlineExceeded, InferenceFailed


class Squares:
    """Squares of numbers; negative ones fail their whole run. It notes what ran together, and can be held."""

    def __init__(self) -> None:
        self.runs: list[list[int]] = []
        self.terminations: list[Termination] = []
        self.started = threading.Event()
        self.let_go = threading.Event()
        self.let_go.set()
        #: For runs by their first item, instead of `let_go`.
        self.gates: dict[int, threading.Event] = {}

    def __call__(self, items: Sequence[int], termination: Termination) -> Sequence[int]:
        self.runs.append([*items])
        self.terminations.append(termination)
        self.started.set()
        assert self.gates.get(items[0], self.let_go).wait(120)
        if min(items) < 0:
            raise InferenceFailed("negative")
        return [item * item for item in items]

    def hold(self) -> None:
        self.started.clear()
        self.let_go.clear()

    async def has_started(self) -> None:
        assert await asyncio.to_thread(self.started.wait, 120)


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = Engine(cores=1, max_waiting=16)
    yield engine
    engine.close()


@pytest.fixture
def squares() -> Squares:
    return Squares()


@pytest.fixture
def batcher(engine: Engine, squares: Squares) -> Batcher[int, int]:
    return Batcher(engine, squares, max_batch=4)


def soon() -> Deadline:
    return Deadline.after(120)


async def start(batcher: Batcher[int, int], engine: Engine, *items: int) -> list[asyncio.Task[int]]:
    """Ask for items one after the other, each waiting before the next one comes."""
    tasks = []
    for item in items:
        tasks.append(asyncio.create_task(batcher.run(engine.admit_batch(), item, soon())))
        await asyncio.sleep(0)
    return tasks


async def start_held(
    batcher: Batcher[int, int], engine: Engine, squares: Squares, *items: int
) -> list[asyncio.Task[int]]:
    """Hold a run of 0, and have `items` wait for its core."""
    squares.hold()
    first = await start(batcher, engine, 0)
    await squares.has_started()
    return [*first, *await start(batcher, engine, *items)]


async def test_an_item_that_is_alone_runs_at_once_and_alone(
    batcher: Batcher[int, int], engine: Engine, squares: Squares
) -> None:
    assert await batcher.run(engine.admit_batch(), 3, soon()) == 9
    assert squares.runs == [[3]]


async def test_items_that_wait_are_joined_oldest_first_and_each_gets_its_own_answer(
    batcher: Batcher[int, int], engine: Engine, squares: Squares
) -> None:
    tasks = await start_held(batcher, engine, squares, 1, 2, 3, 4, 5, 6)

    squares.let_go.set()

    assert await asyncio.gather(*tasks) == [0, 1, 4, 9, 16, 25, 36]
    assert squares.runs == [[0], [1, 2, 3, 4], [5, 6]]


async def test_a_caller_that_left_while_waiting_is_not_computed(
    batcher: Batcher[int, int], engine: Engine, squares: Squares
) -> None:
    first, left, stayed = await start_held(batcher, engine, squares, 1, 2)
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)

    squares.let_go.set()

    assert [*await asyncio.gather(first, stayed)] == [0, 4]
    assert squares.runs == [[0], [2]]


async def test_a_caller_that_left_a_joined_run_harms_no_one_and_the_last_one_ends_it(
    batcher: Batcher[int, int], engine: Engine, squares: Squares
) -> None:
    gate = squares.gates[1] = threading.Event()
    first, one, two = await start_held(batcher, engine, squares, 1, 2)
    squares.started.clear()
    squares.let_go.set()
    await first
    await squares.has_started()
    joined = squares.terminations[-1]

    one.cancel()
    await asyncio.gather(one, return_exceptions=True)
    ended_by_one = joined.options.terminate
    gate.set()

    assert await two == 4
    assert not ended_by_one


async def test_a_run_is_ended_when_all_of_its_callers_have_left(
    batcher: Batcher[int, int], engine: Engine, squares: Squares
) -> None:
    squares.hold()
    (only,) = await start(batcher, engine, 1)
    await squares.has_started()

    only.cancel()
    await asyncio.gather(only, return_exceptions=True)

    assert squares.terminations[-1].options.terminate
    squares.let_go.set()
    assert await batcher.run(engine.admit_batch(), 2, soon()) == 4


async def test_one_bad_item_fails_alone(batcher: Batcher[int, int], engine: Engine, squares: Squares) -> None:
    tasks = await start_held(batcher, engine, squares, 1, -2, 3)

    squares.let_go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    assert [outcomes[0], outcomes[1], outcomes[3]] == [0, 1, 9]
    assert isinstance(outcomes[2], InferenceFailed)


async def test_an_item_whose_caller_left_a_run_that_failed_is_not_repeated(
    batcher: Batcher[int, int], engine: Engine, squares: Squares
) -> None:
    gate = squares.gates[1] = threading.Event()
    first, one, bad, left = await start_held(batcher, engine, squares, 1, -2, 3)
    squares.started.clear()
    squares.let_go.set()
    await first
    await squares.has_started()

    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    gate.set()
    await asyncio.gather(one, bad, return_exceptions=True)

    assert squares.runs == [[0], [1, -2, 3], [1], [-2]]


async def test_a_run_that_others_still_want_is_not_stuck_when_the_deadline_of_its_first_item_passes(
    squares: Squares,
) -> None:
    stuck = asyncio.Event()
    engine = Engine(cores=1, max_waiting=16, on_stuck=stuck.set)
    batcher = Batcher(engine, squares, max_batch=4)
    gate = squares.gates[1] = threading.Event()
    (first,) = await start_held(batcher, engine, squares)
    hasty = asyncio.create_task(batcher.run(engine.admit_batch(), 1, Deadline.after(1.0)))
    await asyncio.sleep(0)
    (patient,) = await start(batcher, engine, 2)
    squares.let_go.set()

    with pytest.raises(DeadlineExceeded):
        await hasty
    gate.set()

    assert [*await asyncio.gather(first, patient)] == [0, 4]
    assert squares.runs == [[0], [1, 2]]
    assert not stuck.is_set()
    engine.close()


async def test_a_deadline_ends_the_waiting_and_nothing_else(
    batcher: Batcher[int, int], engine: Engine, squares: Squares
) -> None:
    (first,) = await start_held(batcher, engine, squares)
    now = [0.0]
    passed = Deadline.after(1, lambda: now[0])
    late = asyncio.create_task(batcher.run(engine.admit_batch(), 1, passed))
    now[0] = 2.0

    with pytest.raises(DeadlineExceeded):
        await late
    squares.let_go.set()
    assert await first == 0
    assert await batcher.run(engine.admit_batch(), 5, soon()) == 25


async def test_too_few_results_are_nobodys(engine: Engine) -> None:
    batcher: Batcher[int, int] = Batcher(engine, lambda *_: [], max_batch=4)

    with pytest.raises(InferenceFailed, match="0 results for 1 items"):
        await batcher.run(engine.admit_batch(), 1, soon())
