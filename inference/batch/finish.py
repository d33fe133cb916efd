"""Owns the end of a batch: look whether every row is final; then results, summary and event, in this order.

While rows are missing it looks again later, carries on replays that were lost half way, and after long silence sends
again what may have been lost. It refuses to score, and to publish anything before it is complete.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

import msgspec
import orjson
from msgspec import Struct
from opentelemetry.trace import SpanKind

from inference import telemetry
from inference.batch import layout, rows
from inference.batch.callbacks import callback_errand
from inference.batch.concurrency import end, for_each
from inference.batch.deadletters import DeadLetters
from inference.batch.expand import shard_message
from inference.batch.journals import Journals, Rounds
from inference.batch.messages import FinishMessage
from inference.batch.parts import PartCounts, PartStore
from inference.batch.ports import Delivery, Queues, Stores
from inference.batch.record import BatchRecord, Records
from inference.batch.stops import Stops
from inference.batch.survey import Ended, Summary, Survey
from inference.errors import ErrorThresholdExceeded
from inference.settings import BatchSettings
from inference.storage import ABSENT, PreconditionFailed

#: Parts read ahead of the one being written to the results.
_PREFETCHED_PARTS = 8
#: Silence after which messages may have been lost: longer than a lease (10 min) and the longest back-off (5 min).
_SILENCE_SECONDS = 1200.0
#: Silence after which they are sent again though the queue is not empty: the rest of it may be other batches.
_LONG_SILENCE_SECONDS = 6 * 3600.0


class Finisher(Struct, frozen=True):
    """Works off finish messages."""

    stores: Stores
    queues: Queues
    records: Records
    parts: PartStore
    dead_letters: DeadLetters
    journals: Journals
    stops: Stops
    settings: BatchSettings

    async def work(self, delivery: Delivery, message: FinishMessage) -> None:
        """Bring the batch forward, and to its end when nothing is missing. Raises BatchNotFound."""
        with telemetry.span(
            "batch.finish",
            parent=message.traceparent,
            kind=SpanKind.CONSUMER,
            attributes={"batch.id": message.batch_id, "batch.round": message.round},
        ):
            record = await self.records.read(message.batch_id)
            rounds = await self.journals.rounds(record.batch_id)
            is_again = delivery.is_redelivery or message.recoveries > 0
            if await self._is_done(record, message, rounds, is_again=is_again):
                return
            if message.round < rounds.latest and not rounds.unapplied and not is_again:
                return  # whoever applied the later round looks after the batch
            for round_ in rounds.unapplied:
                await self.journals.apply(record, round_)
            survey = await Survey.of(record, self.parts)
            if survey.is_complete and await self._publish(record, survey, rounds.latest, is_again=is_again):
                return
            if rounds.unapplied or is_again:
                message = message.changed(is_errand=False)  # nobody else may look after what this has re-opened
            await self._look_again(record, message, survey, rounds.latest, is_again=survey.is_complete and is_again)

    async def _is_done(self, record: BatchRecord, message: FinishMessage, rounds: Rounds, *, is_again: bool) -> bool:
        """Tell whether the summary of the latest round is there."""
        found = await self.stores.results.properties(layout.summary(record.batch_id))
        if found is None:
            return False
        ended = Ended.of(found).round
        # Failed or lost after the summary was written, perhaps before the event; a replay may have begun since.
        if is_again and ended >= message.round:
            await self._announce(record)
        return ended >= rounds.latest

    async def _publish(self, record: BatchRecord, survey: Survey, round_: int, *, is_again: bool) -> bool:
        """Write dead letters, results, summary and event; False when somebody else changed or published meanwhile.

        `is_again`: that may be an earlier delivery of the same message, and it may have died before the event.
        """
        await self.dead_letters.heal(record, survey.parts)
        results, summary_name = layout.results(record.batch_id), layout.summary(record.batch_id)
        summary = Summary.of(record, survey, round_)
        written = [await self.stores.results.properties(name) for name in (results, summary_name)]
        if written[1] and Ended.of(written[1]).round >= round_:
            if is_again:
                await self._announce(record)
            return True  # another finisher was quicker, and tells of it
        etags = [properties.etag if properties else ABSENT for properties in written]
        parts = [survey.parts[shard] for shard in sorted(survey.parts)]
        try:
            async with aclosing(self._rows(record, parts)) as lines:
                await self.stores.results.write_stream(
                    results,
                    lines,
                    if_match=etags[0],
                    metadata={"round": str(round_)},
                    content_type="application/x-ndjson",
                )
        except PreconditionFailed:
            return False
        if not await self._write_summary(summary_name, summary, etags[1]):
            return False
        await self._announce(record)
        telemetry.count_batch(summary.state.value)
        return True

    async def _write_summary(self, name: str, summary: Summary, etag: str) -> bool:
        """Write the summary; False when somebody else did, and so will send the event."""
        writer = secrets.token_hex(8)
        try:
            await self.stores.results.write(
                name,
                msgspec.json.format(msgspec.json.encode(summary), indent=2),
                if_match=etag,
                metadata={**summary.metadata, "writer": writer},
                content_type="application/json",
            )
        except PreconditionFailed:
            # Perhaps it is our own write, whose reply was lost.
            found = await self.stores.results.properties(name)
            return found is not None and found.metadata.get("writer") == writer
        return True

    async def _rows(self, record: BatchRecord, parts: Sequence[PartCounts]) -> AsyncGenerator[bytes]:
        """Yield the results in the manifest's order from exactly the versions of the parts that were counted."""

        def begin(part: PartCounts) -> asyncio.Task[list[bytes]]:
            return asyncio.ensure_future(self.parts.lines(record.batch_id, part.shard, part.etag))

        ahead = [begin(part) for part in parts[:_PREFETCHED_PARTS]]
        try:
            for position in range(len(parts)):
                lines = await ahead[0]
                ahead.pop(0)
                if position + _PREFETCHED_PARTS < len(parts):
                    ahead.append(begin(parts[position + _PREFETCHED_PARTS]))
                yield b"\n".join(map(rows.strip, lines)) + b"\n"
        finally:
            await end(ahead)

    async def _announce(self, record: BatchRecord) -> None:
        """Send the summary to those who consume `batch-events`, and on its way to the callback url.

        After a crash perhaps again, with the same id.
        """
        summary = orjson.loads((await self.stores.results.read(layout.summary(record.batch_id))).data)
        event = {**summary, "event_id": f"{record.batch_id}/{summary['round']}", "traceparent": record.traceparent}
        await self.queues.events.send(orjson.dumps(event))
        if record.callback_url is not None:
            await self.queues.finish.send(callback_errand(record, event).encode())

    async def _look_again(
        self, record: BatchRecord, message: FinishMessage, survey: Survey, round_: int, *, is_again: bool
    ) -> None:
        has_moved = (survey.done, survey.turns) != (message.done, message.turns)
        quiet = 0.0 if has_moved else message.quiet_seconds + message.delay_seconds
        told = message.told_stop
        stop = await self.stops.read(record.batch_id)
        if stop is None and 0 <= record.error_threshold < survey.failed and round_ == 0:
            await self.stops.write(record.batch_id, 0, ErrorThresholdExceeded)
            stop = await self.stops.read(record.batch_id)
        if stop and stop.round > told:
            # Shards in back-off would hear of it when their delay ends, minutes from now.
            await self._send_again(record, [part for part in survey.parts.values() if part.pending])
            told = stop.round
        if await self._is_lost(quiet):
            await self._send_missing(record, survey)
            quiet = 0.0
        if message.is_errand:
            return
        delay = next_look(self.settings, message, survey, has_moved=has_moved)
        following = message.changed(
            round=round_,
            delay_seconds=delay,
            done=survey.done,
            turns=survey.turns,
            quiet_seconds=quiet,
            told_stop=told,
            recoveries=int(is_again),
        )
        await self.queues.finish.send(following.encode(), delay_seconds=delay)

    async def _is_lost(self, quiet_seconds: float) -> bool:
        """Tell whether messages may have been lost: long silence, and nothing in the queue that explains it."""
        if quiet_seconds < _SILENCE_SECONDS:
            return False
        return quiet_seconds >= _LONG_SILENCE_SECONDS or not await self.queues.shards.approximate_count()

    async def _send_missing(self, record: BatchRecord, survey: Survey) -> None:
        await self._send_again(record, [part for part in survey.parts.values() if part.pending])

        async def unwritten() -> AsyncIterator[bytes]:
            async for where in record.table_in(self.stores).read_all():
                if where.shard not in survey.parts:
                    yield shard_message(record, where).encode()

        await for_each(unwritten(), self.queues.shards.send)

    async def _send_again(self, record: BatchRecord, parts: Sequence[PartCounts]) -> None:
        """Send messages that are due for every pending row of these parts; a duplicate does no harm."""
        table = record.table_in(self.stores)

        async def send(part: PartCounts) -> None:
            message = shard_message(record, await table.read(part.shard))
            now = message.changed(round=part.round, turn=part.turn, delay_seconds=self.settings.retry_cap_seconds)
            await self.queues.shards.send(now.encode())

        await for_each(parts, send)


def next_look(settings: BatchSettings, message: FinishMessage, survey: Survey, *, has_moved: bool) -> float:
    """Return the delay of the next look: half of what the last pace would need, or twice the last delay in silence."""
    shortest, longest = settings.finish_poll_seconds, settings.finish_poll_cap_seconds
    gained = survey.done - message.done
    if has_moved and gained > 0:
        wanted = 0.5 * survey.pending * max(message.delay_seconds, shortest) / gained
    else:
        wanted = 2 * message.delay_seconds
    return min(max(wanted, shortest), longest)
