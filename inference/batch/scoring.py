"""Owns the scoring of some items of a shard: bounded concurrency, one deadline an item, and when to stop early.

It refuses to judge a failure (`retry` does) and to store anything: it returns what came out for whom.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson
from msgspec import Struct, field

from inference import telemetry
from inference.batch.concurrency import end
from inference.batch.ports import Draining, Scorer
from inference.batch.record import BatchRecord
from inference.batch.retry import is_ours
from inference.batch.rows import Row
from inference.batch.stops import StopWatch
from inference.errors import DeadlineExceeded, InferenceError, InferenceFailed, UrlNotAllowed
from inference.settings import BatchSettings

MAX_URL_CHARACTERS = 2048
#: A delivery stops taking items after this long and hands the rest on: the host's lease on a message is ten minutes
#: and its function time-out may be five.
_BUDGET_SECONDS = 240.0
#: What items under way get when the worker drains, so that their part is written within the 10 s that the Functions
#: host waits for its messages, whatever the platform's grace (WebJobsScriptHostService.StopAsync).
_DRAIN_SECONDS = 7.0
#: The scorer keeps the deadline itself; the net below it is this much longer, and never more than twice as long.
_DEADLINE_SLACK_SECONDS = 5.0


class Due(Struct, frozen=True):
    """A row to score, with the url that its redacted form stands for."""

    row: Row
    url: str


class Outcomes(Struct):
    """What came out, by index; an item that was not begun, or was given back, is in neither."""

    predictions: dict[int, Any] = field(default_factory=dict)
    failures: dict[int, Exception] = field(default_factory=dict)
    #: A failure of ours was met: the next item would meet the same, so none is begun.
    is_stalled: bool = False

    def fail(self, index: int, failure: Exception) -> None:
        """Note a failure."""
        self.failures[index] = failure
        self.is_stalled = self.is_stalled or is_ours(failure)
        if not isinstance(failure, InferenceError):
            telemetry.count_bug("batch.score")


class ShardScoring(Struct, frozen=True):
    """Scores items of one shard at a time."""

    scorer: Scorer
    settings: BatchSettings
    draining: Draining
    #: Seconds that pass; not the time of day.
    clock: Callable[[], float]

    async def score(self, record: BatchRecord, due: Sequence[Due], watch: StopWatch) -> Outcomes:
        """Score what is due until all is done, the batch ends, the worker drains or a failure of ours is met."""
        outcomes, waiting = Outcomes(), iter(due)
        takers = [
            asyncio.ensure_future(self._take(record, waiting, outcomes, watch, self.clock() + _BUDGET_SECONDS))
            for _ in range(min(self.settings.shard_concurrency, len(due)))
        ]
        drained = asyncio.ensure_future(self.draining.wait())
        try:
            await _first_failure_or_all(takers, drained, self.clock)
        finally:
            await end([drained, *takers])
        return outcomes

    async def _take(
        self, record: BatchRecord, waiting: Iterator[Due], outcomes: Outcomes, watch: StopWatch, until: float
    ) -> None:
        for item in waiting:
            if outcomes.is_stalled or self.draining.is_set() or self.clock() > until:
                return
            if await watch.is_ended(item.row):
                return
            try:
                outcomes.predictions[item.row.index] = await self._attempt(record, item)
            except Exception as exc:  # one item never fails its neighbours
                outcomes.fail(item.row.index, exc)

    async def _attempt(self, record: BatchRecord, item: Due) -> Any:
        attributes = {"batch.id": record.batch_id, "batch.item.index": item.row.index, "url.full": item.row.url}
        with telemetry.span("batch.item", attributes=attributes):
            return await self._score(record, item.url)

    async def _score(self, record: BatchRecord, url: str) -> Any:
        check_url(url)
        seconds = self.settings.item_timeout_seconds
        try:
            async with asyncio.timeout(seconds + min(seconds, _DEADLINE_SLACK_SECONDS)):
                predictions = await self.scorer.score(url, record.pin, record.parameters, seconds)
        except TimeoutError:
            raise DeadlineExceeded from None
        return _plain(predictions)


def check_url(url: str) -> None:
    """Raise UrlNotAllowed for what no fetcher could take; the fetcher has the last word on the rest."""
    if len(url) > MAX_URL_CHARACTERS:
        raise UrlNotAllowed(f"The url is longer than {MAX_URL_CHARACTERS} characters.")
    if not url.lower().startswith(("https://", "http://")):
        raise UrlNotAllowed("The url is neither https nor http.")


def _plain(predictions: Sequence[Mapping[str, Any]]) -> Any:
    """Return the predictions as JSON has them, so that what is compared and what is stored are one."""
    try:
        return orjson.loads(orjson.dumps(predictions, option=orjson.OPT_SERIALIZE_NUMPY))
    except (orjson.JSONEncodeError, orjson.JSONDecodeError):
        raise InferenceFailed("The model's predictions cannot be written as JSON.") from None


async def _first_failure_or_all(
    takers: list[asyncio.Task[None]], drained: asyncio.Task[object], clock: Callable[[], float]
) -> None:
    """Wait for the takers; once the worker drains only for a while, all in all. Raises what a taker raised."""
    running: set[asyncio.Task[Any]] = {*takers, drained}
    until: float | None = None
    while running - {drained}:
        if until is None and drained.done():
            until = clock() + _DRAIN_SECONDS
        timeout = None if until is None else max(0.0, until - clock())
        finished, running = await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        failures = [failure for task in finished if (failure := task.exception())]
        if failures:
            raise failures[0]
        if not finished:
            return
