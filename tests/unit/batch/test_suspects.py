from __future__ import annotations

import asyncio

import pytest

from inference.batch.messages import ShardMessage
from inference.batch.ports import Delivery
from inference.batch.suspects import Isolation, Suspects
from tests.fakes import Crash, FakeStorage

MESSAGE = ShardMessage(batch_id="b", shard=0, offset=0, bytes=1, first=0, count=4)
SINGLE = MESSAGE.changed(count=1)


@pytest.mark.parametrize(
    ("count", "is_suspect", "dequeue_count", "lost", "verdict"),
    [
        (4, False, 2, 1, False),
        (4, False, 3, 0, False),
        (4, False, 3, 1, True),
        (4, True, 2, 1, True),
        (4, True, 1, 0, False),
        (1, False, 3, 1, False),
        (1, False, 4, 2, True),
        (1, True, 3, 2, True),
        (1, True, 2, 2, False),
    ],
)
def test_guilt_takes_lost_deliveries_and_for_a_single_item_two_of_them(
    count: int, is_suspect: bool, dequeue_count: int, lost: int, verdict: bool
) -> None:
    message = MESSAGE.changed(count=count, is_suspect=is_suspect)

    assert Suspects(FakeStorage().blobs("manifests"), 3).is_guilty(message, dequeue_count, lost) is verdict


async def test_a_marker_stays_only_when_the_process_dies() -> None:
    storage = FakeStorage()
    suspects = Suspects(storage.blobs("manifests"), 3)

    async with suspects.watched(MESSAGE, Delivery(b"", "id", 2), []):
        assert await suspects.lost(MESSAGE) == ["id/2"]
    assert await suspects.lost(MESSAGE) == []
    with pytest.raises(ValueError, match="ours"):
        async with suspects.watched(MESSAGE, Delivery(b"", "id", 2), []):
            raise ValueError("ours")
    assert await suspects.lost(MESSAGE) == []
    with pytest.raises(Crash):
        async with suspects.watched(MESSAGE, Delivery(b"", "id", 3), ["id/2"]):
            storage.crash_before(0)  # the marker is not taken away either
    storage.restart()
    assert await suspects.lost(MESSAGE) == ["id/2", "id/3"]
    assert await suspects.lost(SINGLE) == []


async def test_a_suspect_runs_alone_and_goes_before_those_that_come_later() -> None:
    isolation, log, release = Isolation(), [], asyncio.Event()

    async def ordinary(name: str) -> None:
        async with isolation.shared():
            log.append(f"{name} in")
            await release.wait()
            log.append(f"{name} out")

    async def suspect() -> None:
        async with isolation.alone():
            log.append("suspect in")
            await asyncio.sleep(0)
            log.append("suspect out")

    tasks = [asyncio.create_task(ordinary(name)) for name in ("a", "b")]
    await _settle()
    tasks += [asyncio.create_task(suspect()), asyncio.create_task(suspect())]
    await _settle()
    tasks.append(asyncio.create_task(ordinary("late")))
    await _settle()
    assert log == ["a in", "b in"]
    release.set()
    await asyncio.gather(*tasks)

    assert log[2:] == [
        "a out",
        "b out",
        "suspect in",
        "suspect out",
        "suspect in",
        "suspect out",
        "late in",
        "late out",
    ]


async def test_who_gives_up_waiting_to_be_alone_holds_nobody_back() -> None:
    isolation = Isolation()
    async with isolation.shared():
        waiting = asyncio.create_task(_be_alone(isolation))
        await _settle()
        late = asyncio.create_task(_share(isolation))
        await _settle()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await late


async def _be_alone(isolation: Isolation) -> None:
    async with isolation.alone():
        pass


async def _share(isolation: Isolation) -> None:
    async with isolation.shared():
        pass


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)
