"""Owns parts: the rows of one shard in one blob, changed only by conditional writes, counted in its metadata.

It refuses to decide what becomes of a row: callers hand in a pure change, applied again when somebody else was first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime

import orjson
from msgspec import Struct, field

from inference.batch import layout, rows
from inference.batch.rows import Row, RowStatus
from inference.errors import StorageUnavailable
from inference.storage import ABSENT, BlobNotFound, BlobProperties, BlobStore, PreconditionFailed

#: Lost races in a row after which a write is given back to the host; each one means that somebody else got ahead.
_MAX_RACES = 50


class Part(Struct, frozen=True):
    """The rows of one shard, in order of index."""

    rows: tuple[Row, ...]
    etag: str = ABSENT

    @property
    def first(self) -> int:
        """Index of the shard's first item."""
        return self.rows[0].index

    def within(self, first: int, count: int) -> tuple[Row, ...]:
        """Return the rows of a range of indexes."""
        start = first - self.first
        return self.rows[start : start + count]

    def changed(self, changes: Mapping[int, Row]) -> Part:
        """Return the part with rows replaced, where the new version of a row is the one that counts."""
        return self.map(lambda row: rows.newer(row, changes[row.index]) if row.index in changes else row)

    def map(self, change: Callable[[Row], Row]) -> Part:
        """Return the part with `change` applied to each row."""
        return Part(tuple(map(change, self.rows)), self.etag)

    @property
    def dead(self) -> list[Row]:
        """The rows that have a dead letter."""
        return [row for row in self.rows if row.is_dead]

    def encode(self) -> bytes:
        """Return the part's lines."""
        return b"\n".join([rows.encode(row) for row in self.rows]) + b"\n"

    @classmethod
    def decode(cls, data: bytes, etag: str) -> Part:
        """Read lines that `encode` made."""
        return cls(tuple(map(rows.decode, data.splitlines())), etag)


class PartCounts(Struct, frozen=True):
    """What a part's metadata says of its rows, so that nobody reads a part to count."""

    shard: int
    etag: str
    last_modified: datetime
    total: int
    succeeded: int
    failed: int
    #: Failed rows that have a dead letter (not purged).
    dead: int
    pending: int
    round: int
    turn: int
    errors: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, properties: BlobProperties) -> PartCounts:
        """Read a listing's entry."""
        numbers = {name: int(properties.metadata[name]) for name in _NUMBERS}
        errors = orjson.loads(properties.metadata["errors"])
        shard = layout.number_of(properties.name)
        return cls(shard, properties.etag, properties.last_modified, errors=errors, **numbers)


_NUMBERS = ("total", "succeeded", "failed", "dead", "pending", "round", "turn")


def count(part: Part) -> dict[str, str]:
    """Return the metadata of a part."""
    by_status = Counter(row.status for row in part.rows)
    # Codes are a closed set of some thirty short words, far below the 8 KB that metadata may have.
    errors = Counter(row.error.code for row in part.rows if row.status is RowStatus.FAILED and row.error)
    numbers = {
        "total": len(part.rows),
        "succeeded": by_status[RowStatus.SUCCEEDED],
        "failed": by_status[RowStatus.FAILED],
        "dead": len(part.dead),
        "pending": by_status[RowStatus.PENDING],
        "round": max(row.round for row in part.rows),
        "turn": max((row.turn for row in part.rows if row.is_pending), default=0),
    }
    metadata = {name: str(number) for name, number in numbers.items()}
    return {**metadata, "errors": orjson.dumps(dict(sorted(errors.items()))).decode()}


class PartStore:
    """The parts in the container `results`."""

    def __init__(self, results: BlobStore) -> None:
        self._results = results

    async def read(self, batch_id: str, shard: int) -> Part | None:
        """Return the part, or None when nothing was written yet."""
        try:
            blob = await self._results.read(layout.part(batch_id, shard))
        except BlobNotFound:
            return None
        return Part.decode(blob.data, blob.properties.etag)

    async def newer(self, batch_id: str, shard: int, part: Part) -> Part | None:
        """Return the part as it stands when it is not that version any more; None while it is, or is gone."""
        found = await self._results.properties(layout.part(batch_id, shard))
        if found is None or found.etag == part.etag:
            return None
        return await self.read(batch_id, shard)

    async def update(self, batch_id: str, shard: int, part: Part, change: Callable[[Part], Part]) -> Part:
        """Write `change(part)`, or of whatever stands there by then, and return what stands there now.

        `part` is what the caller read, or the blank part of a shard that has none. A change of nothing writes nothing.
        """
        for _ in range(_MAX_RACES):
            after = change(part)
            if after.rows == part.rows:
                return part
            try:
                return await self._write(batch_id, shard, after)
            except PreconditionFailed:
                # Another holder of the message, or our own write whose reply was lost: both are met by looking.
                part = await self.read(batch_id, shard) or Part(part.rows)
        raise StorageUnavailable("Others keep writing the same part.")

    async def _write(self, batch_id: str, shard: int, part: Part) -> Part:
        etag = await self._results.write(
            layout.part(batch_id, shard),
            part.encode(),
            if_match=part.etag,
            metadata=count(part),
            content_type="application/x-ndjson",
        )
        return Part(part.rows, etag)

    async def lines(self, batch_id: str, shard: int, etag: str) -> list[bytes]:
        """Return the lines of exactly that version of a part. Raises PreconditionFailed."""
        try:
            blob = await self._results.read(layout.part(batch_id, shard))
        except BlobNotFound as exc:
            raise PreconditionFailed(str(exc)) from None
        if blob.properties.etag != etag:
            raise PreconditionFailed(blob.properties.name)
        return blob.data.splitlines()

    async def list(self, batch_id: str) -> AsyncIterator[PartCounts]:
        """Yield the counts of each part there is, in order of name (not of number past shard 99999)."""
        async for properties in self._results.list(layout.parts(batch_id)):
            yield PartCounts.of(properties)
