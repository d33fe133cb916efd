"""Owns the dead letters of items: one blob a shard, a pure function of the shard's part.

Since it can always be derived again, it needs no transaction with the part: `heal` rewrites what does not belong to
the part as it stands. It refuses to hold state of its own, and urls that are not redacted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import orjson

from inference.batch import layout
from inference.batch.concurrency import for_each
from inference.batch.parts import Part, PartCounts, PartStore
from inference.batch.record import BatchRecord
from inference.batch.rows import Row
from inference.errors import StorageUnavailable
from inference.storage import BlobStore

_MAX_RACES = 10


def derive(record: BatchRecord, part: Part) -> list[dict[str, Any]]:
    """Return the dead letters of a part, in order of index."""
    return [_of_row(record, row) for row in part.dead]


def _of_row(record: BatchRecord, row: Row) -> dict[str, Any]:
    error = row.error
    return {
        "kind": "item",
        "batch_id": record.batch_id,
        "index": row.index,
        "id": row.id,
        "url": row.url,
        "code": error.code if error else "",
        "message": error.message if error else "",
        "retryable": error.retryable if error else False,
        "attempts": row.attempts,
        "first_at": row.first_at,
        "last_at": row.last_at,
        "model": record.model,
        "version": record.version,
        "sha256": record.sha256,
        "trace_id": row.trace_id,
        "round": row.round,
        "history": list(row.history),
    }


class DeadLetters:
    """The dead letters of items in the container `deadletters`."""

    def __init__(self, deadletters: BlobStore, parts: PartStore) -> None:
        self._deadletters = deadletters
        self._parts = parts

    async def write(self, record: BatchRecord, shard: int, part: Part) -> None:
        """Write the dead letters of a part that was just read or written, or delete them when there are none.

        Who was paused here until others had changed the part has the last word: so it looks once more, and corrects
        itself. Whoever changes the part later writes later.
        """
        for _ in range(_MAX_RACES):
            await self._write(record, shard, part)
            newer = await self._parts.newer(record.batch_id, shard, part)
            if newer is None:
                return
            part = newer
        raise StorageUnavailable("Others keep writing the same part.")

    async def _write(self, record: BatchRecord, shard: int, part: Part) -> None:
        name = layout.dead_letter(record.batch_id, shard)
        letters = derive(record, part)
        if not letters:
            await self._deadletters.delete(name)
            return
        codes = Counter(letter["code"] for letter in letters)
        metadata = {
            "part_etag": part.etag,
            "dead": str(len(letters)),
            "codes": orjson.dumps(dict(sorted(codes.items()))).decode(),
        }
        data = b"\n".join([orjson.dumps(letter) for letter in letters]) + b"\n"
        await self._deadletters.write(name, data, metadata=metadata, content_type="application/x-ndjson")

    async def heal_shard(self, record: BatchRecord, shard: int, part: Part) -> None:
        """Write the dead letters of a part unless they are there already."""
        found = await self._deadletters.properties(layout.dead_letter(record.batch_id, shard))
        if _is_stale(bool(part.dead), part.etag, found.metadata if found else None):
            await self.write(record, shard, part)

    async def heal(self, record: BatchRecord, counts: Mapping[int, PartCounts]) -> None:
        """Make the dead letters of a batch those of its parts; two listings when they are."""
        written: dict[int, Mapping[str, str]] = {}
        async for properties in self._deadletters.list(layout.dead_letters(record.batch_id)):
            written[layout.number_of(properties.name)] = {"part_etag": properties.metadata.get("part_etag", "")}
        stale = [shard for shard, part in counts.items() if _is_stale(part.dead > 0, part.etag, written.get(shard))]

        async def rewrite(shard: int) -> None:
            if part := await self._parts.read(record.batch_id, shard):
                await self.write(record, shard, part)

        await for_each(stale, rewrite)


def _is_stale(is_needed: bool, part_etag: str, written: Mapping[str, str] | None) -> bool:
    if written is None:
        return is_needed
    return not is_needed or written.get("part_etag") != part_etag
