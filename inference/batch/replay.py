"""Owns what operators do with dead letters: replay, purge and export, batch by batch.

A replay only writes a journal and a message; rows are re-opened by whoever works off the message, so that it can be
lost half way and carried on. It refuses to re-open a row twice for one round.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from inference import telemetry
from inference.batch import layout
from inference.batch.burials import Burials, BuriedMessage
from inference.batch.canonical import ShardRange
from inference.batch.concurrency import for_each
from inference.batch.deadletters import DeadLetters
from inference.batch.items import read_lines
from inference.batch.journals import Journals, Rounds, ShardSelection
from inference.batch.messages import FinishMessage, ManifestMessage
from inference.batch.parts import PartStore
from inference.batch.ports import Queues, Stores
from inference.batch.record import BatchRecord, Records
from inference.batch.selection import DeadLetterFilter, DeadLetterReader
from inference.batch.survey import Survey
from inference.batch.uploads import keep_images
from inference.errors import ManifestNotFound, StorageUnavailable
from inference.storage import MAX_MESSAGE_BYTES, PreconditionFailed

_MAX_RACES = 10


class Outcome(Struct):
    """What a replay or a purge did, or with `is_dry_run` would do."""

    is_dry_run: bool = False
    #: Items, plus manifests.
    count: int = 0
    batches: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self, verb: str) -> dict[str, Any]:
        """Return the API's reply; `verb` is `replayed` or `purged`."""
        return {verb: self.count, "batches": self.batches, "dry_run": self.is_dry_run}

    def add(self, batch_id: str, round_: int, items: int) -> None:
        """Count items of a batch."""
        self.count += items
        self.batches.append({"batch_id": batch_id, "round": round_, "items": items})

    def left_of(self, wanted: DeadLetterFilter) -> DeadLetterFilter | None:
        """Return the filter for what the limit leaves, or None when it is used up."""
        if wanted.limit is None:
            return wanted
        return replace(wanted, limit=wanted.limit - self.count) if self.count < wanted.limit else None


class Operations(Struct, frozen=True):
    """Works on dead letters."""

    stores: Stores
    queues: Queues
    records: Records
    parts: PartStore
    dead_letters: DeadLetters
    journals: Journals
    burials: Burials
    reader: DeadLetterReader

    async def replay(self, wanted: DeadLetterFilter, *, dry_run: bool) -> Outcome:
        """Try the items that are meant again, and manifests that could not become a batch."""
        outcome = Outcome(dry_run)
        await self._replay_messages(wanted, outcome)
        async for record, left in self._records(wanted, outcome):
            with telemetry.span("batch.replay", link=record.traceparent, attributes={"batch.id": record.batch_id}):
                await self._replay_batch(record, left, outcome)
        return outcome

    async def purge(self, wanted: DeadLetterFilter, *, dry_run: bool) -> Outcome:
        """Forget the dead letters that are meant; failed rows stay failed."""
        outcome = Outcome(dry_run)
        await self._purge_messages(wanted, outcome)
        async for record, left in self._records(wanted, outcome):
            await self._purge_batch(record, left, outcome)
        return outcome

    async def export(self, wanted: DeadLetterFilter) -> AsyncIterator[bytes]:
        """Yield the failed items as a manifest (JSON Lines), with the urls as they were submitted."""
        outcome = Outcome()
        async for record, left in self._records(wanted, outcome):
            async for selection in self._select(record, left, frozenset()):
                outcome.count += len(selection.indexes)
                where = await record.table_in(self.stores).read(selection.shard)
                lines = await self._manifest_lines(record, where)
                yield b"".join(lines[index - where.first] for index in selection.indexes)

    async def _records(
        self, wanted: DeadLetterFilter, outcome: Outcome
    ) -> AsyncIterator[tuple[BatchRecord, DeadLetterFilter]]:
        """Yield the batches that are meant, each with the filter for what the limit leaves, while it lasts."""
        async for batch_id in self._batches(wanted):
            left = outcome.left_of(wanted)
            if left is None:
                return
            record = await self.records.find(batch_id)
            if record is not None:
                yield record, left

    async def _manifest_lines(self, record: BatchRecord, where: ShardRange) -> list[bytes]:
        try:
            return await read_lines(self.stores.manifests, record, where.offset, where.bytes)
        except ManifestNotFound:
            why = f"The urls of the batch {record.batch_id} are gone: its copy of its manifest was deleted or changed."
            raise ManifestNotFound(why) from None

    async def _replay_batch(self, record: BatchRecord, wanted: DeadLetterFilter, outcome: Outcome) -> None:
        await self._heal(record)
        for _ in range(_MAX_RACES):
            rounds = await self.journals.rounds(record.batch_id)
            taken = await self._taken(record, rounds)
            if rounds.unapplied and not outcome.is_dry_run:
                # An earlier replay was lost before its message was sent, or is under way: carried on either way.
                await self._send_finish(record, rounds.latest)
            items = 0

            async def counted() -> AsyncIterator[ShardSelection]:
                nonlocal items
                async for selection in self._select(record, wanted, taken):  # noqa: B023 -- used up in this turn
                    items += len(selection.indexes)
                    yield selection

            selections = counted()
            first = await anext(selections, None)
            if first is None:
                return
            round_ = rounds.latest + 1
            if outcome.is_dry_run:
                async for _selection in selections:
                    pass
                outcome.add(record.batch_id, round_, items)
                return
            try:
                await self.journals.write(record.batch_id, round_, _chain(first, selections))
            except PreconditionFailed:
                continue  # another replay took the round; what it took is not taken twice
            await self._send_finish(record, round_)
            outcome.add(record.batch_id, round_, items)
            return
        raise StorageUnavailable("Other replays of the same batch keep getting ahead.")

    async def _purge_batch(self, record: BatchRecord, wanted: DeadLetterFilter, outcome: Outcome) -> None:
        await self._heal(record)
        items = 0

        async def purge(selection: ShardSelection) -> None:
            nonlocal items
            if not outcome.is_dry_run:
                await self._purge_shard(record, selection)
            items += len(selection.indexes)

        await for_each(self._select(record, wanted, frozenset()), purge)
        if items:
            outcome.add(record.batch_id, 0, items)

    async def _purge_shard(self, record: BatchRecord, selection: ShardSelection) -> None:
        part = await self.parts.read(record.batch_id, selection.shard)
        if part is None:
            return
        indexes = frozenset(selection.indexes)
        after = await self.parts.update(
            record.batch_id,
            selection.shard,
            part,
            lambda stored: stored.map(
                lambda row: replace(row, is_purged=True) if row.index in indexes and row.is_dead else row
            ),
        )
        await self.dead_letters.write(record, selection.shard, after)

    async def _select(
        self, record: BatchRecord, wanted: DeadLetterFilter, taken: frozenset[int]
    ) -> AsyncIterator[ShardSelection]:
        """Yield the indexes that are meant and not taken, shard by shard, up to the limit."""
        left = wanted.limit
        one_batch = replace(wanted, batch_id=record.batch_id)
        blobs = self.reader.blobs(one_batch)
        of_items = (blob async for blob in blobs if not blob.name.startswith(layout.BURIED_MESSAGES))
        async for blob, letters in self.reader.contents(of_items, left):
            indexes = [letter["index"] for letter in letters if wanted.takes(letter) and letter["index"] not in taken]
            if indexes := indexes[:left]:
                yield ShardSelection(layout.number_of(blob.name), tuple(indexes))
            if left is not None and (left := left - len(indexes)) <= 0:
                return

    async def _batches(self, wanted: DeadLetterFilter) -> AsyncIterator[str]:
        """Yield the ids of the batches that may have dead letters of items."""
        if wanted.batch_id:
            yield wanted.batch_id
            return
        seen = ""
        async for blob in self.reader.blobs(wanted):
            batch_id = layout.batch_id_of(blob.name)
            if batch_id != seen and not blob.name.startswith(layout.BURIED_MESSAGES):
                seen = batch_id
                yield batch_id

    async def _heal(self, record: BatchRecord) -> None:
        """Make the dead letters true before they are chosen from."""
        await self.dead_letters.heal(record, (await Survey.of(record, self.parts)).parts)

    async def _taken(self, record: BatchRecord, rounds: Rounds) -> frozenset[int]:
        """Return the indexes that journals hold which are not applied yet."""
        taken: set[int] = set()
        for round_ in rounds.unapplied:
            async for selection in self.journals.read(record.batch_id, round_):
                taken.update(selection.indexes)
        return frozenset(taken)

    async def _send_finish(self, record: BatchRecord, round_: int) -> None:
        message = FinishMessage(batch_id=record.batch_id, round=round_, traceparent=record.traceparent)
        await self.queues.finish.send(message.encode())

    async def _replay_messages(self, wanted: DeadLetterFilter, outcome: Outcome) -> None:
        async for name in self._messages(wanted, outcome):
            found = await self.burials.read(name)
            if found is None or not found[0].is_replayable or found[0].is_replaying:
                continue
            buried, etag = found
            if not outcome.is_dry_run and not await self._send_again(buried, etag):
                continue
            outcome.add(buried.batch_id or "", 0, 1)

    async def _send_again(self, buried: BuriedMessage, etag: str) -> bool:
        """Send a buried message once more; False for one that fits into no message any more."""
        body = buried.replay_body()
        if len(body) <= MAX_MESSAGE_BYTES:
            await self.queues.work(buried.queue).send(body)
            if buried.queue == layout.QueueName.MANIFESTS:
                await self.burials.mark_replaying(buried, etag)
            else:  # who carries it out knows of no dead letter, and buries it anew where that fails
                await self.burials.forget(buried.key)
            return True
        message = ManifestMessage.decode(body)
        if message.images is None or message.batch_id is None:
            return False
        # With the batch's id in it, or in base64, it is too long: another message, which is buried by itself.
        path = await keep_images(self.stores.manifests, message.batch_id, message.images)
        await self.queues.manifests.send(message.changed(images=None, manifest=path).encode())
        await self.burials.forget(buried.key)
        return True

    async def _purge_messages(self, wanted: DeadLetterFilter, outcome: Outcome) -> None:
        async for name in self._messages(wanted, outcome):
            found = await self.burials.read(name)
            if found is None:
                continue
            if not outcome.is_dry_run:
                await self.burials.forget(found[0].key)
            outcome.add(found[0].batch_id or "", 0, 1)

    async def _messages(self, wanted: DeadLetterFilter, outcome: Outcome) -> AsyncIterator[str]:
        """Yield the blobs of dead letters of messages that are meant, while the limit lasts."""
        async for properties in self.burials.list(wanted.batch_id):
            if outcome.left_of(wanted) is None:
                return
            if any(map(wanted.takes, await self.reader.letters(properties.name))):
                yield properties.name


async def _chain(first: ShardSelection, rest: AsyncIterator[ShardSelection]) -> AsyncIterator[ShardSelection]:
    yield first
    async for selection in rest:
        yield selection
