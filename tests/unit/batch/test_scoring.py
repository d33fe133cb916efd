from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import numpy as np
import pytest

from inference.batch import scoring
from inference.batch.ports import ModelPin
from inference.batch.record import BatchRecord
from inference.batch.rows import Row
from inference.batch.scoring import Due, Outcomes, ShardScoring, check_url
from inference.batch.stops import Stops, StopWatch
from inference.errors import (
    DeadlineExceeded,
    ImageNotFound,
    InferenceFailed,
    ModelUnavailable,
    UrlNotAllowed,
)
from inference.settings import BatchSettings
from tests.fakes import Crash, FakeClock, FakeStorage

RECORD = BatchRecord(
    batch_id="b",
    digest="",
    asked="",
    source="",
    message_id="",
    model="digits",
    version="1",
    sha256="ab" * 32,
    total=9,
    shards=1,
    mini_batch_size=9,
    max_attempts=3,
    error_threshold=-1,
    manifest="",
    manifest_etag="",
    table="",
    created_at="",
    traceparent="",
)


class CallingScorer:
    """Scores by calling a function of the url's number."""

    def __init__(self, score: Callable[[int], Awaitable[Any]]) -> None:
        self._score = score
        self.begun: list[int] = []

    async def resolve(self, model: str | None, parameters: Mapping[str, Any]) -> ModelPin:
        raise NotImplementedError

    async def score(
        self, url: str, pin: ModelPin, parameters: Mapping[str, Any], deadline_seconds: float
    ) -> list[Mapping[str, Any]]:
        number = int(url.rpartition("/")[2])
        self.begun.append(number)
        predictions: list[Mapping[str, Any]] = await self._score(number)
        return predictions


async def run(
    scorer: CallingScorer,
    count: int = 6,
    *,
    concurrency: int = 2,
    draining: asyncio.Event | None = None,
    clock: Callable[[], float] = lambda: 0.0,
    item_timeout_seconds: float = 60.0,
) -> Outcomes:
    settings = BatchSettings(shard_concurrency=concurrency, item_timeout_seconds=item_timeout_seconds)
    shard = ShardScoring(scorer, settings, draining or asyncio.Event(), clock)
    watch = StopWatch(Stops(FakeStorage().blobs("manifests")), "b", lambda: 0.0)
    due = [Due(Row(index, str(index), ""), f"https://a.example/{index}") for index in range(count)]
    return await shard.score(RECORD, due, watch)


async def test_every_item_is_scored_and_no_more_at_once_than_allowed() -> None:
    running = most = 0

    async def score(number: int) -> list[int]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return [number]

    outcomes = await run(CallingScorer(score), 9, concurrency=3)

    assert outcomes.predictions == {index: [index] for index in range(9)}
    assert most == 3


async def test_one_item_never_fails_its_neighbours() -> None:
    async def score(number: int) -> list[int]:
        if number % 2:
            raise [ImageNotFound(), ZeroDivisionError(), MemoryError()][number // 2]
        return [number]

    outcomes = await run(CallingScorer(score))

    assert sorted(outcomes.predictions) == [0, 2, 4]
    assert [type(failure) for _, failure in sorted(outcomes.failures.items())] == [
        ImageNotFound,
        ZeroDivisionError,
        MemoryError,
    ]


async def test_after_a_failure_of_ours_no_further_item_is_begun() -> None:
    async def score(number: int) -> list[int]:
        if number == 1:
            raise ModelUnavailable
        return [number]

    scorer = CallingScorer(score)
    outcomes = await run(scorer, concurrency=1)

    assert scorer.begun == [0, 1]
    assert outcomes.is_stalled


async def test_an_item_that_never_returns_meets_its_deadline() -> None:
    async def score(number: int) -> list[int]:
        if number == 0:
            await asyncio.Event().wait()
        return [number]

    outcomes = await run(CallingScorer(score), 2, item_timeout_seconds=0.01)

    assert isinstance(outcomes.failures[0], DeadlineExceeded)
    assert outcomes.predictions == {1: [1]}


async def test_a_worker_that_drains_gives_back_what_does_not_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_DRAIN_SECONDS", 0)
    draining = asyncio.Event()

    async def score(number: int) -> list[int]:
        if number == 1:
            draining.set()
            await asyncio.Event().wait()
        return [number]

    scorer = CallingScorer(score)
    outcomes = await run(scorer, concurrency=1, draining=draining)

    assert outcomes.predictions == {0: [0]}
    assert not outcomes.failures
    assert scorer.begun == [0, 1]


async def test_the_items_under_way_share_what_a_worker_that_drains_gives_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_DRAIN_SECONDS", 1000.0)
    clock, draining, all_begun = FakeClock(), asyncio.Event(), asyncio.Barrier(3)

    async def score(number: int) -> list[int]:
        await all_begun.wait()
        draining.set()
        for _ in range(10 * (number + 1)):  # one after the other, once the drain has begun
            await asyncio.sleep(0)
        if number == 2:
            await asyncio.Event().wait()
        clock.advance(600)
        return [number]

    scorer = CallingScorer(score)
    async with asyncio.timeout(120):
        outcomes = await run(scorer, 3, concurrency=3, draining=draining, clock=clock.monotonic)

    assert outcomes.predictions == {0: [0], 1: [1]}
    assert not outcomes.failures


async def test_a_worker_that_drains_waits_for_what_is_under_way() -> None:
    draining, release = asyncio.Event(), asyncio.Event()

    async def score(number: int) -> list[int]:
        draining.set()
        asyncio.get_running_loop().call_later(0, release.set)
        await release.wait()
        return [number]

    scorer = CallingScorer(score)
    outcomes = await run(scorer, concurrency=1, draining=draining)

    assert outcomes.predictions == {0: [0]}
    assert scorer.begun == [0]


async def test_a_delivery_takes_no_more_items_when_its_time_is_up() -> None:
    ticks = itertools.count(0, 100)

    async def score(number: int) -> list[int]:
        return [number]

    outcomes = await run(CallingScorer(score), concurrency=1, clock=lambda: float(next(ticks)))

    assert outcomes.predictions == {0: [0], 1: [1]}


async def test_a_dying_process_is_no_failure_of_an_item() -> None:
    async def score(number: int) -> list[int]:
        raise Crash

    with pytest.raises(Crash):
        await run(CallingScorer(score))


async def test_predictions_are_plain_json_or_the_model_has_failed() -> None:
    async def score(number: int) -> list[dict[str, Any]]:
        return [{"label": "7", "score": np.float32(0.5)}] if number == 0 else [{"label": object()}]

    outcomes = await run(CallingScorer(score), 2)

    assert outcomes.predictions == {0: [{"label": "7", "score": 0.5}]}
    assert isinstance(outcomes.failures[1], InferenceFailed)


@pytest.mark.parametrize(
    "url", ["", "ftp://a.example/1", "file:///etc/passwd", "a", "https:/a", "https://a/" + "x" * 2048]
)
def test_urls_that_no_fetcher_takes_are_refused(url: str) -> None:
    with pytest.raises(UrlNotAllowed):
        check_url(url)


@pytest.mark.parametrize("url", ["https://a.example/1", "HTTP://a.example/1", "https://a/" + "x" * 2038])
def test_the_fetcher_has_the_last_word_on_other_urls(url: str) -> None:
    check_url(url)
