"""Several processes, an operator and a clock that jumps, interleaved at random: every invariant must hold at the end.

Each call to storage takes a random number of the loop's turns, and now and then one is held up until long after its
message's lease, when another process has the message, too. The seed is the test's id.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable

import pytest

from inference.batch import layout
from inference.batch.ports import Delivery
from inference.batch.selection import DeadLetterFilter
from inference.batch.service import BatchService
from inference.errors import BatchNotFound, ImageNotFound, InferenceError, OriginUnavailable, StorageUnavailable
from tests.fakes import HOST_LEASE_SECONDS, Call, FakeStorage, MessageGone, ReceivedMessage
from tests.flows.invariants import check_invariants
from tests.flows.simulation import MAX_DEQUEUE_COUNT, Behaviour, ScriptedScorer, Simulation, images, manifest

QUEUES = [*layout.WORK_QUEUES, *map(layout.poison, layout.WORK_QUEUES)]


class SlowStorage(FakeStorage):
    """Storage whose calls take long, some of them very long."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self.is_slow = True
        self._dice = dice
        self._held: list[asyncio.Event] = []

    async def enter(self, method: str, store: str, name: str = "") -> Call:
        if self.is_slow:
            if self._dice.random() < 0.04:
                self._held.append(asyncio.Event())
                await self._held[-1].wait()
            await turns(self._dice.choice([0, 0, 1, 2, 5, 15]))
        return await super().enter(method, store, name)

    def let_go(self, share: float) -> None:
        """Let a share of the calls that are held up go on."""
        for event in self._held:
            if self._dice.random() < share:
                event.set()
        self._held = [event for event in self._held if not event.is_set()]


class Site:
    """Some processes over one storage, with what they are doing."""

    def __init__(self, sim: Simulation, processes: list[BatchService], dice: random.Random) -> None:
        self.sim = sim
        self.clock = sim.storage.clock
        self.tasks: set[asyncio.Task[None]] = set()
        self._processes = processes
        self._dice = dice

    def begin(self, work: Awaitable[None]) -> None:
        """Have something done beside all the rest."""
        self.tasks.add(asyncio.ensure_future(work))

    def receive(self) -> None:
        """Have some process receive a message of some queue."""
        filled = [name for name in QUEUES if self.sim.queue(name).bodies]
        name = self._dice.choice(filled) if filled else ""
        if name and (received := self.sim.queue(name).receive()):
            self.begin(self._deliver(name, received))

    def operate(self) -> None:
        """Have some process do what an operator asks for."""
        process = self._dice.choice(self._processes)
        if self._dice.random() < 0.08:
            self.begin(self._ask(process.cancel("b")))
        else:
            self.begin(self._ask(process.replay(DeadLetterFilter(batch_id="b"))))

    async def look(self) -> None:
        """Forget what is done, raising what was not foreseen; move the clock to the next message when nothing is."""
        done = {task for task in self.tasks if task.done()}
        self.tasks -= done
        await asyncio.gather(*done)
        times = [at for name in QUEUES if (at := self.sim.queue(name).next_visible_at)]
        if not self.tasks and times:
            self.clock.advance(max(0.0, (min(times) - self.clock.now()).total_seconds()))

    async def _ask(self, operation: Awaitable[object]) -> None:
        try:
            await operation
        except BatchNotFound:
            return  # it was not expanded yet

    async def _deliver(self, name: str, received: ReceivedMessage) -> None:
        queue, process = self.sim.queue(name), self._dice.choice(self._processes)
        try:
            if received.dequeue_count > MAX_DEQUEUE_COUNT and name in layout.WORK_QUEUES:
                queue.move_to_poison(received)
                return
            try:
                await process.deliveries[name](Delivery(received.body, received.id, received.dequeue_count))
            except InferenceError:
                queue.release(received, 10)
            else:
                queue.delete(received)
        except MessageGone:
            return  # another process has it, or had


async def turns(count: int) -> None:
    """Let others run so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


def open_site(dice: random.Random, urls: list[str]) -> tuple[Site, SlowStorage]:
    """Start three processes; some images fail, for good or for a while."""
    failures: list[list[Behaviour]] = [
        [ImageNotFound()],
        [ImageNotFound(), ImageNotFound()],
        [OriginUnavailable()],
        [OriginUnavailable(), OriginUnavailable()],
        [StorageUnavailable()],
    ]
    scorer = ScriptedScorer({url: dice.choice(failures) for url in urls if dice.random() < 0.5})

    async def take_long(_: str) -> None:
        await turns(dice.choice([0, 1, 5, 20]))

    scorer.before_async = take_long
    storage = SlowStorage(dice)
    sim = Simulation(scorer, storage=storage, draw=dice.random, monotonic=storage.clock.monotonic)
    processes = [sim.service]
    for _ in range(2):
        sim.start()
        processes.append(sim.service)
    return Site(sim, processes, dice), storage


@pytest.mark.parametrize("seed", range(120))
async def test_whatever_the_order_nothing_is_lost_or_doubled(seed: int) -> None:
    dice = random.Random(seed)
    urls = images(dice.randint(1, 12))
    site, storage = open_site(dice, urls)
    site.sim.drop(manifest("b", urls, mini_batch_size=dice.randint(1, 5), error_threshold=dice.choice([-1, -1, 0, 3])))
    for _ in range(dice.randint(100, 500)):
        what = dice.random()
        if what < 0.4:
            site.receive()
        elif what < 0.85:
            await turns(dice.randint(1, 30))
        elif what < 0.9:
            storage.clock.advance(dice.choice([1, 5, 60, HOST_LEASE_SECONDS + 1]))
        elif what < 0.92:
            storage.let_go(0.3)
        else:
            site.operate()
        await site.look()
    while site.tasks:
        storage.let_go(0.3)
        await turns(10)
        if dice.random() < 0.2:
            storage.clock.advance(HOST_LEASE_SECONDS + 1)
            site.receive()
        await site.look()
    storage.is_slow = False
    await site.sim.drain()

    check_invariants(site.sim, "b", urls)
    assert not site.sim.buried()
    status = await site.sim.service.status("b")
    assert (status.state, status.pending) == (site.sim.summary("b")["state"], 0)
