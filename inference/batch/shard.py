"""Owns the work on one shard message: score what is due, write the part, the dead letters and the next message.

It returns only when all that is durable, since returning deletes the message. It refuses to try anything a second
time that has a final row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace
from opentelemetry.trace import SpanKind

from inference import telemetry
from inference.batch import rows
from inference.batch.agenda import Agenda, follow_up, judge
from inference.batch.deadletters import DeadLetters
from inference.batch.items import read_items, unknown_rows
from inference.batch.messages import ShardMessage
from inference.batch.parts import Part, PartStore
from inference.batch.ports import Clock, Delivery, Queues, Random, Stores
from inference.batch.record import BatchRecord, Records
from inference.batch.retry import RetryPolicy, RowError, describe
from inference.batch.rows import Attempt, Row, RowStatus
from inference.batch.scoring import Due, Outcomes, ShardScoring
from inference.batch.stops import Stops, StopWatch, StopWatches
from inference.batch.suspects import Isolation, Suspects
from inference.errors import ErrorThresholdExceeded, InvalidMessage, ManifestNotFound, WorkerLost
from inference.settings import BatchSettings


class Shard(Struct, frozen=True):
    """Everything read for one message."""

    record: BatchRecord
    message: ShardMessage
    #: As stored, or blank.
    part: Part
    urls: Sequence[str]
    watch: StopWatch

    @property
    def agenda(self) -> Agenda:
        """What the message means now."""
        return Agenda.of(self.part, self.message)


class ShardWorker(Struct, frozen=True):
    """Works off shard messages."""

    stores: Stores
    queues: Queues
    records: Records
    parts: PartStore
    dead_letters: DeadLetters
    stops: Stops
    watches: StopWatches
    suspects: Suspects
    isolation: Isolation
    scoring: ShardScoring
    settings: BatchSettings
    clock: Clock
    random: Random

    async def work(self, delivery: Delivery, message: ShardMessage) -> None:
        """Do what a shard message asks for.

        Raises BatchNotFound, and Unavailable to be delivered again.
        """
        attributes = {
            "batch.id": message.batch_id,
            "batch.shard": message.shard,
            "batch.round": message.round,
        }
        with telemetry.span("batch.shard", parent=message.traceparent, kind=SpanKind.CONSUMER, attributes=attributes):
            shard = await self._open(delivery, message)
            if shard is None:
                return
            if not (message.is_suspect or delivery.is_redelivery):
                async with self.isolation.shared():
                    await self._score(shard)
                return
            async with self.isolation.alone():
                await self._score_suspect(shard, delivery)

    async def _open(self, delivery: Delivery, message: ShardMessage) -> Shard | None:
        """Read what is needed to go on, or return None when there is nothing left to do."""
        shard = await self._read(delivery, message)
        # Its range may have a marker: of this delivery's forerunners, or of the message that this one was made of.
        if shard is None and (message.is_suspect or delivery.is_redelivery):
            await self.suspects.clear(message)
        return shard

    async def _read(self, delivery: Delivery, message: ShardMessage) -> Shard | None:
        record = await self.records.read(message.batch_id)
        if message.shard >= record.shards:
            raise InvalidMessage(f"The batch {record.batch_id} has no shard {message.shard}.")
        stored = await self.parts.read(message.batch_id, message.shard)
        if stored and (agenda := Agenda.of(stored, message)).is_empty:
            if delivery.is_redelivery:  # lost after the part was written, perhaps before its dead letters
                await self.dead_letters.heal_shard(record, message.shard, stored)
            return None
        watch = self.watches.of(message.batch_id)
        # A message that finds rows may be the finisher's, sent because of a stop that was written a moment ago.
        stop = await (watch.look_now() if stored else watch.look())
        if stored and not (agenda.due or agenda.waiting) and not any(map(stop.ends, agenda.ahead) if stop else ()):
            # A duplicate, or the message of a delivery that wrote the part and was lost before it sent the next one; or
            # of one of a larger range, which was paused until that had been split: its own message is gone.
            if delivery.is_redelivery or message.is_suspect:
                await self._send_next(message, agenda.ahead, is_stalled=False)
            return None
        try:
            items = await read_items(self.stores.manifests, record, message)
        except ManifestNotFound as exc:
            lost = Shard(record, message, stored or unknown_rows(record, message.shard), (), watch)
            await self._end_lost(lost, describe(exc))
            return None
        return Shard(record, message, stored or items.blank, items.urls, watch)

    async def _score_suspect(self, shard: Shard, delivery: Delivery) -> None:
        lost = await self.suspects.lost(shard.message)
        if self.suspects.is_guilty(shard.message, delivery.dequeue_count, len(lost)):
            await self.split(shard)
            return
        async with self.suspects.watched(shard.message, delivery, lost):
            await self._score(shard)

    async def _score(self, shard: Shard) -> None:
        record, message = shard.record, shard.message
        due = [Due(row, shard.urls[row.index - shard.part.first]) for row in shard.agenda.due]
        due = [item for item in due if not await shard.watch.is_ended(item.row)]
        outcomes = await self.scoring.score(record, due, shard.watch) if due else Outcomes()
        policy = RetryPolicy.of(self.settings, record.max_attempts)
        attempt = self._attempt(record)
        changes = judge(shard.agenda, outcomes, message, attempt, policy, self.random(), shard.watch.stop)
        part = await self._write(shard, changes)
        pending = [row for row in part.within(message.first, message.count) if row.is_pending]
        if pending:
            await self._send_next(message, pending, is_stalled=outcomes.is_stalled)

    async def _write(self, shard: Shard, changes: dict[int, Row]) -> Part:
        """Write the part, then what follows from it: dead letters, metrics, the end of a batch that fails too much."""
        record, message, before = shard.record, shard.message, shard.part
        part = await self.parts.update(record.batch_id, message.shard, before, lambda stored: stored.changed(changes))
        if part.dead or before.dead:
            await self.dead_letters.write(record, message.shard, part)
        with telemetry.labelled(model=record.model, model_version=record.version):
            for row in changes.values():
                if not row.is_pending:
                    telemetry.count_item(row.error.code if row.error else "ok", "batch")
        failed = sum(row.status is RowStatus.FAILED and row.round == 0 for row in part.rows)
        if 0 <= record.error_threshold < failed and shard.watch.stop is None:
            await self.stops.write(record.batch_id, 0, ErrorThresholdExceeded)
            await shard.watch.look_now()
        return part

    async def _send_next(self, message: ShardMessage, pending: Iterable[Row], *, is_stalled: bool) -> None:
        following = follow_up(message, pending, is_stalled=is_stalled)
        await self.queues.shards.send(following.encode(), delay_seconds=following.delay_seconds)

    async def split(self, shard: Shard) -> None:
        """Cut a range that took its worker down in halves; end a single item as `worker_lost`."""
        message = shard.message
        if message.count == 1:
            await self.end_range(shard, describe(WorkerLost()))
        else:
            half = message.count // 2
            ranges = (message.first, half), (message.first + half, message.count - half)
            for first, count in ranges:
                piece = message.changed(first=first, count=count, is_suspect=True)
                await self.queues.shards.send(piece.encode())
        await self.suspects.clear(message)

    async def end_range(self, shard: Shard, error: RowError) -> Part:
        """End what is pending in the message's range as failed."""
        attempt = self._attempt(shard.record)
        agenda = shard.agenda
        changes = {
            # The attempt was made, though nobody came back to tell.
            row.index: rows.give_up(replace(row, attempts=row.attempts + 1), error, attempt)
            for row in (*agenda.due, *agenda.waiting)
        }
        return await self._write(shard, changes)

    async def _end_lost(self, shard: Shard, error: RowError) -> None:
        """End what is pending in the message's range and cannot be tried; the reason of a stop goes first."""
        stop, attempt = shard.watch.stop, self._attempt(shard.record)
        changes = {
            row.index: rows.give_up(row, stop.error if stop and stop.ends(row) else error, attempt)
            for row in shard.agenda.pending
        }
        await self._write(shard, changes)

    async def open_poisoned(self, message: ShardMessage) -> Shard | None:
        """Read what a poison message is about, or return None when nothing of it is left to do."""
        return await self._open(Delivery(b"", "", dequeue_count=2), message)

    def _attempt(self, record: BatchRecord) -> Attempt:
        return Attempt(self.clock().isoformat(), record.pin, telemetry.trace_id() or record.trace_id)
