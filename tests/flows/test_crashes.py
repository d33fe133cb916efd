"""The process dies before and after every single call to storage, restarts and drains: every invariant must hold."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import orjson
import pytest

from inference.batch.selection import DeadLetterFilter
from inference.errors import ImageNotFound, OriginUnavailable
from tests.fakes import Crash, MessageGone, ReceivedMessage
from tests.flows.invariants import check_invariants, without_volatile
from tests.flows.simulation import Script, ScriptedScorer, Simulation, images, manifest

URLS = [*images(5), *images(2)]  # the last two are the first two again: two rows each

type Story = Callable[[Simulation], Awaitable[None]]


def simulate() -> Simulation:
    """One image is gone for two rounds, one comes at the second attempt."""
    script: Script = {URLS[1]: [ImageNotFound()] * 2, URLS[3]: [OriginUnavailable()]}
    return Simulation(ScriptedScorer(script))


async def insist(sim: Simulation, action: Callable[[], Awaitable[object]]) -> None:
    """Do what an operator does: try again when the process died under the request."""
    while True:
        try:
            await action()
        except Crash:
            sim.restart()
        else:
            return


async def submit_and_replay(sim: Simulation) -> None:
    """Drop, drain, replay, drain."""
    await sim.run(manifest("b", URLS))
    await insist(sim, lambda: sim.service.replay(DeadLetterFilter(batch_id="b")))
    await sim.drain()


async def submit_over_http_and_cancel(sim: Simulation) -> None:
    """Submit over HTTP, cancel after two messages, drain, replay what was cancelled, drain."""
    body = orjson.dumps(manifest("b", URLS))
    await insist(sim, lambda: sim.service.submit(body))
    await sim.step()
    await sim.step()
    await insist(sim, lambda: sim.service.cancel("b"))
    await sim.drain()
    await insist(sim, lambda: sim.service.replay(DeadLetterFilter(code="batch_cancelled")))
    await sim.drain()


async def replay_while_running(sim: Simulation) -> None:
    """Replay when the first failure is in, and purge at the end what is still dead."""
    sim.drop(manifest("b", URLS))
    for _ in range(3):
        await sim.step()
    await insist(sim, lambda: sim.service.replay(DeadLetterFilter()))
    await sim.drain()
    await insist(sim, lambda: sim.service.replay(DeadLetterFilter()))
    await sim.drain()


async def submit_with_a_callback_and_replay(sim: Simulation) -> None:
    """Drop, drain, replay, drain; each end is told, the first one at the second attempt."""
    sim.receiver.script = [503]
    await sim.run(manifest("b", URLS, callback_url="https://hooks.example/b"))
    await insist(sim, lambda: sim.service.replay(DeadLetterFilter(batch_id="b")))
    await sim.drain()
    told = {post.headers["Idempotency-Key"]: post.body for post in sim.receiver.posts}
    assert set(told.values()) == set(sim.queue("batch-events").bodies)
    assert told.keys() == {event["event_id"] for event in sim.events()} == {"b/0", "b/1"}


STORIES: list[Story] = [
    submit_and_replay,
    submit_over_http_and_cancel,
    replay_while_running,
    submit_with_a_callback_and_replay,
]


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("story", STORIES)
async def test_no_crash_between_two_storage_calls_breaks_an_invariant(story: Story, is_done: bool) -> None:
    plain = simulate()
    await story(plain)
    expected = without_volatile(check_invariants(plain, "b", URLS))
    calls = len(plain.storage.calls)
    assert calls > 50

    for number in range(1, calls + 1):
        sim = simulate()
        (sim.storage.crash_after if is_done else sim.storage.crash_before)(number)

        await story(sim)

        rows = check_invariants(sim, "b", URLS)
        if story is submit_and_replay:
            # I4: the same bytes as without the crash. (Cancel and replay meet another moment after one.)
            assert without_volatile(rows) == expected, number
        assert sim.crashes == 1, number
        # I15: a crash costs at most one more run of the shard that it hit.
        extra = sim.scorer.attempts.total() - plain.scorer.attempts.total()
        assert extra <= 2 * sim.settings.shard_size, number
        assert not sim.buried()


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
async def test_a_replay_that_dies_and_is_not_repeated_has_begun_or_not(is_done: bool) -> None:
    """Wherever in the request the process dies, a journal that was written comes to its round's end by itself."""
    plain = simulate()
    await plain.run(manifest("b", URLS))
    before = len(plain.storage.calls)
    await plain.service.replay(DeadLetterFilter(batch_id="b"))
    rounds = Counter[int]()

    for number in range(1, len(plain.storage.calls) - before + 1):
        sim = simulate()
        await sim.run(manifest("b", URLS))
        (sim.storage.crash_after if is_done else sim.storage.crash_before)(before + number)

        with pytest.raises(Crash):
            await sim.service.replay(DeadLetterFilter(batch_id="b"))
        sim.restart()
        await sim.drain()

        check_invariants(sim, "b", URLS)
        journals = [name for name in sim.storage.blobs("manifests").contents if name.endswith("/replays/00001.jsonl")]
        assert sim.summary("b")["round"] == len(journals), number
        rounds[len(journals)] += 1
    assert rounds.keys() == {0, 1}


@pytest.mark.parametrize("seed", range(60))
async def test_a_random_run_of_crashes_duplicates_and_races_loses_nothing(seed: int) -> None:
    """Jepsen's accounting: lost, duplicated and unexpected rows are all none. The seed is the test's id."""
    dice = random.Random(seed)
    urls = images(dice.randint(1, 12))
    script: Script = {url: [ImageNotFound()] if dice.random() < 0.2 else [] for url in urls}
    killers = [url for url in urls if dice.random() < 0.05]
    sim = Simulation(ScriptedScorer(script, killers), draw=dice.random)
    sim.drop(manifest("b", urls, mini_batch_size=dice.randint(1, 5)))

    for _ in range(40):
        if dice.random() < 0.3:
            (sim.storage.crash_after if dice.random() < 0.5 else sim.storage.crash_before)(dice.randint(1, 12))
        await step_at_random(sim, dice)
    sim.storage.restart()
    await sim.drain()

    rows = check_invariants(sim, "b", urls)
    allowed = {"image_not_found"} | ({"worker_lost"} if killers or sim.crashes else set())
    assert {row["error"]["code"] for row in rows if row["status"] == "failed"} <= allowed
    assert not sim.buried()


async def step_at_random(sim: Simulation, dice: random.Random) -> None:
    """Deliver one message, or two at once, or one whose lease ran out while another worker still holds it."""
    what = dice.random()
    if what < 0.6:
        await sim.step()
        return
    names = [name for name, queue in sim.storage.queues.items() if name != "batch-events" and queue.bodies]
    received = [(name, message) for name in names if (message := sim.queue(name).receive(1))]
    if what < 0.8:
        sim.storage.clock.advance(2)  # the leases are over: whoever is fast gets the messages a second time
        received += [(name, message) for name in names if (message := sim.queue(name).receive())]
    await asyncio.gather(*(_deliver(sim, name, message) for name, message in received))


async def _deliver(sim: Simulation, name: str, message: ReceivedMessage) -> None:
    try:
        await sim.deliver(name, message)
    except MessageGone:
        return  # the other holder was faster; the host swallows this too
