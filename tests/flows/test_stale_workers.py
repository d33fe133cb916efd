"""A worker that was paused until its lease was over, and goes on when others have done its work: it does no harm."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest

from inference.batch.layout import QueueName
from inference.batch.messages import ShardMessage
from inference.batch.selection import DeadLetterFilter
from inference.errors import ImageNotFound, OriginUnavailable
from tests.fakes import HOST_LEASE_SECONDS, Call, FakeStorage, MessageGone
from tests.flows.invariants import check_invariants
from tests.flows.simulation import ScriptedScorer, Simulation, images, manifest

URLS = images(2)


class PausingStorage(FakeStorage):
    """Storage on whose doorstep one call is held up."""

    def __init__(self) -> None:
        super().__init__()
        self.is_paused = asyncio.Event()
        self.go_on = asyncio.Event()
        self._wanted: tuple[str, str] | None = None

    def pause_before(self, method: str, store: str) -> None:
        """Hold up the next call of that method to that store."""
        self._wanted = (method, store)

    async def enter(self, method: str, store: str, name: str = "") -> Call:
        if self._wanted == (method, str(store)):
            self._wanted = None
            self.is_paused.set()
            await self.go_on.wait()
        return await super().enter(method, store, name)


async def pause(sim: Simulation, storage: PausingStorage, queue: str) -> asyncio.Task[None]:
    """Deliver a message up to where its worker is paused, and let its lease run out."""
    received = sim.queue(queue).receive()
    assert received is not None
    stale = asyncio.create_task(sim.deliver(queue, received))
    await storage.is_paused.wait()
    storage.clock.advance(HOST_LEASE_SECONDS + 1)
    return stale


async def wake_up(storage: PausingStorage, stale: asyncio.Task[None]) -> None:
    storage.go_on.set()
    with suppress(MessageGone):  # others have done its work, and deleted its message
        await stale


def failing(times: int) -> ScriptedScorer:
    return ScriptedScorer({URLS[0]: [ImageNotFound()] * times})


async def test_a_late_writer_of_dead_letters_leaves_none_of_a_row_that_has_succeeded_since() -> None:
    storage = PausingStorage()
    sim = Simulation(failing(1), storage=storage)
    sim.drop(manifest("b", URLS))
    await sim.step()
    storage.pause_before("blobs.write", "deadletters")
    stale = await pause(sim, storage, QueueName.SHARDS)
    await sim.drain()
    assert [letter["index"] for letter in sim.letters("b/")] == [0]
    await sim.service.replay(DeadLetterFilter(batch_id="b"))
    await sim.drain()
    assert sim.letters("b/") == []
    await wake_up(storage, stale)

    rows = check_invariants(sim, "b", URLS)
    assert [row["status"] for row in rows] == ["succeeded"] * 2


async def test_a_late_replay_takes_no_dead_letter_of_a_row_that_has_failed_again_since() -> None:
    storage = PausingStorage()
    sim = Simulation(failing(2), storage=storage)
    await sim.run(manifest("b", URLS))
    await sim.service.replay(DeadLetterFilter(batch_id="b"))
    storage.pause_before("blobs.delete", "deadletters")
    stale = await pause(sim, storage, QueueName.FINISH)
    await sim.drain()
    assert [letter["round"] for letter in sim.letters("b/")] == [1]
    await wake_up(storage, stale)

    rows = check_invariants(sim, "b", URLS)
    assert [row["status"] for row in rows] == ["failed", "succeeded"]


@pytest.mark.parametrize("pieces", [[(0, 1), (1, 1)], [(0, 2)]], ids=["in halves", "whole"])
async def test_rows_that_a_late_writer_of_a_split_range_left_pending_are_scored(
    pieces: Sequence[tuple[int, int]],
) -> None:
    sim = Simulation(ScriptedScorer({url: [OriginUnavailable()] for url in URLS}))
    sim.drop(manifest("b", URLS))
    await sim.step()
    await sim.step()
    # The writer was lost before it sent the next message, and its own was deleted by who had split the range.
    shards = sim.queue(QueueName.SHARDS)
    sim.storage.clock.advance(HOST_LEASE_SECONDS)
    received = shards.receive()
    assert received is not None
    message = ShardMessage.decode(received.body)
    shards.delete(received)
    for first, count in pieces:
        piece = message.changed(turn=0, delay_seconds=0, first=first, count=count, is_suspect=True)
        shards.put(piece.encode())
    await sim.drain()

    rows = check_invariants(sim, "b", URLS)  # without a rescue by the finisher, after long silence
    assert [row["status"] for row in rows] == ["succeeded"] * 2
