from __future__ import annotations

import asyncio
import gc

import pytest

from inference.batch.rows import Row
from inference.batch.stops import Stop, Stops, StopWatches
from inference.errors import BatchCancelled, ErrorThresholdExceeded, StorageUnavailable
from tests.fakes import Call, FakeClock, FakeStorage


class Watched:
    """A batch whose stops are looked at by a clock that stands still."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.storage = FakeStorage(self.clock)
        self.stops = Stops(self.storage.blobs("manifests"))
        self.watches = StopWatches(self.stops, self.clock.monotonic)

    @property
    def looks(self) -> int:
        return sum(call.method == "blobs.list" for call in self.storage.calls)


async def test_the_shards_of_a_batch_share_one_look_a_second() -> None:
    watched = Watched()
    shards = [watched.watches.of("b") for _ in range(3)]

    for _ in range(100):
        for shard in shards:
            assert not await shard.is_ended(Row(0, "0", ""))
    assert watched.looks == 1

    watched.clock.advance(1)
    await watched.stops.write("b", 0, BatchCancelled)
    for shard in shards:
        assert await shard.is_ended(Row(0, "0", ""))
    assert watched.looks == 2


async def test_a_look_can_be_asked_for_at_once_and_counts_for_all() -> None:
    watched = Watched()
    one, other = watched.watches.of("b"), watched.watches.of("b")
    await one.look()
    await watched.stops.write("b", 2, ErrorThresholdExceeded)

    found = await one.look_now()

    assert found is not None
    assert (found.round, found.error.code) == (2, ErrorThresholdExceeded.code)
    assert await other.look() == found


async def test_a_look_that_ends_after_a_later_one_takes_nothing_back() -> None:
    watched = Watched()
    blobs = watched.storage.blobs("manifests")
    has_looked, may_answer = asyncio.Event(), asyncio.Event()

    class Slow(Stops):
        """Answers its first look late."""

        async def read(self, batch_id: str) -> Stop | None:
            found = await super().read(batch_id)
            if not has_looked.is_set():
                has_looked.set()
                await may_answer.wait()
            return found

    watch = StopWatches(Slow(blobs), watched.clock.monotonic).of("b")
    early = asyncio.create_task(watch.look_now())
    await has_looked.wait()
    await watched.stops.write("b", 0, BatchCancelled)
    assert await watch.look_now() is not None
    may_answer.set()

    assert await early is not None
    assert await watch.is_ended(Row(0, "0", ""))


async def test_batches_are_watched_apart_and_forgotten_when_no_shard_is_left() -> None:
    # A worker that comes back to a batch later must not believe what it saw then.
    watched = Watched()
    watch, other = watched.watches.of("b"), watched.watches.of("c")
    await watch.look()
    await watched.stops.write("b", 0, BatchCancelled)
    assert await other.look() is None

    del watch
    gc.collect()

    assert await watched.watches.of("b").look() is not None


async def test_a_look_that_failed_is_made_again() -> None:
    watched = Watched()
    watch = watched.watches.of("b")

    def fail(call: Call) -> None:
        raise StorageUnavailable("down")

    watched.storage.before_call = fail
    with pytest.raises(StorageUnavailable):
        await watch.look()
    watched.storage.restart()
    await watched.stops.write("b", 0, BatchCancelled)

    assert await watch.look() is not None
