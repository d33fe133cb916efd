"""Owns the journals of replay: which rows a round re-opens, written before any is, and the way they are re-opened.

A journal is immutable, so a replay that was lost half way is carried on by whoever finds it. It refuses to choose
rows (`replay` does).
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterable, AsyncIterator

import orjson
from msgspec import Struct
from msgspec.structs import asdict

from inference.batch import layout, rows
from inference.batch.concurrency import for_each
from inference.batch.deadletters import DeadLetters
from inference.batch.expand import shard_message
from inference.batch.parts import PartStore
from inference.batch.ports import Queues, Stores
from inference.batch.record import BatchRecord
from inference.storage import ABSENT, PreconditionFailed


class Rounds(Struct, frozen=True):
    """The rounds of replay of one batch."""

    #: The latest one; 0 when the batch was never replayed.
    latest: int = 0
    #: Those whose rows may not all be re-opened, in order.
    unapplied: tuple[int, ...] = ()


class ShardSelection(Struct, frozen=True):
    """Rows of one shard that a round re-opens."""

    shard: int
    indexes: tuple[int, ...]


class Journals(Struct, frozen=True):
    """The journals in the container `manifests`."""

    stores: Stores
    queues: Queues
    parts: PartStore
    dead_letters: DeadLetters

    async def rounds(self, batch_id: str) -> Rounds:
        """Return which rounds there are; one listing."""
        written: set[int] = set()
        applied: set[int] = set()
        async for properties in self.stores.manifests.list(layout.replays(batch_id)):
            (applied if properties.name.endswith(".applied") else written).add(layout.number_of(properties.name))
        return Rounds(max(written, default=0), tuple(sorted(written - applied)))

    async def write(self, batch_id: str, round_: int, selections: AsyncIterable[ShardSelection]) -> None:
        """Write a journal. Raises PreconditionFailed when the round is taken."""

        async def lines() -> AsyncIterator[bytes]:
            async for selection in selections:
                yield orjson.dumps(asdict(selection), option=orjson.OPT_APPEND_NEWLINE)

        name, writer = layout.journal(batch_id, round_), secrets.token_hex(8)
        try:
            await self.stores.manifests.write_stream(
                name, lines(), if_match=ABSENT, metadata={"writer": writer}, content_type="application/x-ndjson"
            )
        except PreconditionFailed:
            found = await self.stores.manifests.properties(name)
            if found is None or found.metadata.get("writer") != writer:
                raise  # not our own write, whose reply was lost

    async def read(self, batch_id: str, round_: int) -> AsyncIterator[ShardSelection]:
        """Yield what a journal selects."""
        rest = b""
        async for chunk in self.stores.manifests.stream(layout.journal(batch_id, round_)):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                value = orjson.loads(line)
                yield ShardSelection(value["shard"], tuple(value["indexes"]))

    async def apply(self, record: BatchRecord, round_: int) -> None:
        """Re-open the rows of a journal and send their shards, then note that it is done. Can be repeated."""

        async def reopen(selection: ShardSelection) -> None:
            await self._reopen(record, round_, selection)

        await for_each(self.read(record.batch_id, round_), reopen)
        try:
            await self.stores.manifests.write(layout.applied(record.batch_id, round_), b"", if_match=ABSENT)
        except PreconditionFailed:
            return

    async def _reopen(self, record: BatchRecord, round_: int, selection: ShardSelection) -> None:
        indexes, shard = frozenset(selection.indexes), selection.shard
        before = await self.parts.read(record.batch_id, shard)
        if before is None:
            return
        after = await self.parts.update(
            record.batch_id,
            shard,
            before,
            lambda part: part.map(lambda row: rows.reopen(row, round_) if row.index in indexes else row),
        )
        if after.etag != before.etag:
            await self.dead_letters.write(record, shard, after)
        if any(row.is_pending and row.round == round_ for row in after.rows):
            where = await record.table_in(self.stores).read(shard)
            message = shard_message(record, where).changed(round=round_)
            await self.queues.shards.send(message.encode())
