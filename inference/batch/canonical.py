"""Owns the canonical manifest: one JSON line an item, immutable, with a table of where each shard begins.

It refuses to read users' formats (`manifest` does) and keeps only the table, 8 bytes a shard, in memory.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from array import array
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import suppress
from typing import Self

import orjson
from msgspec import Struct

from inference.batch import layout
from inference.batch.manifest import MAX_LINE_BYTES, Item, read_items
from inference.errors import InvalidManifest, StorageUnavailable
from inference.storage import ABSENT, BlobNotFound, BlobProperties, BlobStore, PreconditionFailed

_log = logging.getLogger("inference.batch")

_OFFSET_BYTES = 8

_DELETED_AGAIN = "The shard table was deleted again while it was read."


class CanonicalManifest(Struct, frozen=True):
    """A canonical manifest that stands in storage, with its shard table."""

    manifest: str
    etag: str
    table: str
    digest: str
    total: int
    shards: int
    mini_batch_size: int


class ShardRange(Struct, frozen=True):
    """Where one shard lies: bytes of the canonical manifest, and indexes of its items."""

    shard: int
    offset: int
    bytes: int
    first: int
    count: int


class Canonicaliser:
    """Turns items into canonical lines, noting where each shard begins."""

    def __init__(self, mini_batch_size: int, max_items: int) -> None:
        self.mini_batch_size = mini_batch_size
        self.total = 0
        self._max_items = max_items
        self._bytes = 0
        self._offsets = array("Q")
        self._hash = hashlib.sha256()

    def write(self, items: Iterable[Item]) -> bytes:
        """Return the lines of the next items. Raises InvalidManifest past the limit."""
        index, offset, size = self.total, self._bytes, self.mini_batch_size
        lines: list[bytes] = []
        for id_, url in items:
            if index % size == 0:
                self._offsets.append(offset)
            line = orjson.dumps(
                {"id": str(index) if id_ is None else id_, "url": url}, option=orjson.OPT_APPEND_NEWLINE
            )
            if len(line) > MAX_LINE_BYTES:  # it could not be read again
                raise InvalidManifest(f"image {index}: longer than {MAX_LINE_BYTES} bytes.")
            lines.append(line)
            offset += len(line)
            index += 1
        if index > self._max_items:
            raise InvalidManifest(f"A manifest may have {self._max_items} images at most.")
        self.total, self._bytes = index, offset
        data = b"".join(lines)
        self._hash.update(data)
        return data

    async def write_all(self, items: AsyncIterable[list[Item]]) -> AsyncIterator[bytes]:
        """Yield the canonical manifest. Raises InvalidManifest, also when there is no item."""
        async for some in items:
            if data := self.write(some):
                yield data
        if not self.total:
            raise InvalidManifest("The manifest has no images.")

    @property
    def digest(self) -> str:
        """SHA-256 of the lines so far."""
        return self._hash.hexdigest()

    @property
    def shards(self) -> int:
        """Shards begun so far."""
        return len(self._offsets)

    def table(self) -> bytes:
        """Return the offset of each shard and of the end, as little-endian 64-bit numbers."""
        offsets = array("Q", self._offsets)
        offsets.append(self._bytes)
        if sys.byteorder == "big":
            offsets.byteswap()
        return offsets.tobytes()


async def digest_items(items: AsyncIterable[list[Item]], max_items: int) -> tuple[str, int]:
    """Return the digest and number of items, keeping nothing. Raises InvalidManifest."""
    canonicaliser = Canonicaliser(max_items, max_items)
    async for _ in canonicaliser.write_all(items):
        pass
    return canonicaliser.digest, canonicaliser.total


async def write_canonical(
    store: BlobStore, batch_id: str, key: str, items: AsyncIterable[list[Item]], canonicaliser: Canonicaliser
) -> CanonicalManifest:
    """Write manifest and table, or find the ones that an earlier delivery wrote; `key` stands for the source.

    Raises InvalidManifest.
    """
    name, table = layout.manifest(batch_id, key), layout.shard_table(batch_id, key)
    if found := await store.properties(table):
        return _of_table(name, found)
    try:
        etag = await store.write_stream(
            name, canonicaliser.write_all(items), if_match=ABSENT, content_type="application/x-ndjson"
        )
    except PreconditionFailed:
        # An earlier delivery got as far as this and no further. What it wrote counts, also where the source (a
        # listing, say) has changed since, so the table is made from it.
        etag, canonicaliser = await _read_back(store, name, canonicaliser)
    try:
        await _write_table(store, table, etag, canonicaliser)
    except PreconditionFailed:
        written = await store.properties(table)
        if written is None:
            raise StorageUnavailable("The shard table was deleted while it was written.") from None
        return _of_table(name, written)
    return CanonicalManifest(
        name,
        etag,
        table,
        canonicaliser.digest,
        canonicaliser.total,
        canonicaliser.shards,
        canonicaliser.mini_batch_size,
    )


async def _write_table(store: BlobStore, name: str, manifest_etag: str, canonicaliser: Canonicaliser) -> None:
    """Raises PreconditionFailed when there is one."""
    metadata = {
        "manifest_etag": manifest_etag,
        "digest": canonicaliser.digest,
        "total": str(canonicaliser.total),
        "shards": str(canonicaliser.shards),
        "mini_batch_size": str(canonicaliser.mini_batch_size),
    }
    await store.write(name, canonicaliser.table(), if_match=ABSENT, metadata=metadata)


def _of_table(name: str, table: BlobProperties) -> CanonicalManifest:
    metadata = table.metadata
    return CanonicalManifest(
        manifest=name,
        etag=metadata["manifest_etag"],
        table=table.name,
        digest=metadata["digest"],
        total=int(metadata["total"]),
        shards=int(metadata["shards"]),
        mini_batch_size=int(metadata["mini_batch_size"]),
    )


async def _read_back(store: BlobStore, name: str, like: Canonicaliser) -> tuple[str, Canonicaliser]:
    found = await store.properties(name)
    if found is None:
        raise StorageUnavailable("The canonical manifest was deleted while it was written.")
    return found.etag, await _canonicalise(store, name, found.etag, like.mini_batch_size)


async def _canonicalise(store: BlobStore, name: str, etag: str, mini_batch_size: int) -> Canonicaliser:
    """Read a canonical manifest once more. Raises BlobNotFound, PreconditionFailed when it is not that version."""
    canonicaliser = Canonicaliser(mini_batch_size, sys.maxsize)
    async for _ in canonicaliser.write_all(read_items(store.stream(name, if_match=etag))):
        pass
    return canonicaliser


class ShardTable(Struct, frozen=True):
    """Reads where shards lie; a table that was deleted is made again from its manifest, as long as that stands."""

    store: BlobStore
    name: str
    manifest: str
    manifest_etag: str
    total: int
    mini_batch_size: int

    @classmethod
    def of(cls, store: BlobStore, manifest: CanonicalManifest) -> Self:
        """Return the table of a canonical manifest."""
        return cls(store, manifest.table, manifest.manifest, manifest.etag, manifest.total, manifest.mini_batch_size)

    async def read(self, shard: int) -> ShardRange:
        """Return where one shard lies, by one small read; of no bytes when nobody can know it any more."""
        try:
            return await self._read(shard)
        except BlobNotFound:
            pass
        if not await self._rebuild():
            return self._range(shard, 0, 0)
        try:
            return await self._read(shard)
        except BlobNotFound:
            raise StorageUnavailable(_DELETED_AGAIN) from None

    async def read_all(self) -> AsyncIterator[ShardRange]:
        """Yield where every shard lies, in order; of no bytes when nobody can know it any more."""
        shard = 0
        try:
            async for where in self._stream():
                yield where
                shard += 1
        except BlobNotFound:
            pass
        else:
            return
        if not await self._rebuild():
            for lost in range(shard, -(-self.total // self.mini_batch_size)):
                yield self._range(lost, 0, 0)
            return
        try:
            async for where in self._stream():
                if where.shard >= shard:
                    yield where
        except BlobNotFound:
            raise StorageUnavailable(_DELETED_AGAIN) from None

    async def _read(self, shard: int) -> ShardRange:
        data = await self.store.read_range(self.name, shard * _OFFSET_BYTES, 2 * _OFFSET_BYTES)
        return self._range(shard, *_offsets(data))

    async def _stream(self) -> AsyncIterator[ShardRange]:
        rest, shard, begin = b"", 0, None
        async for chunk in self.store.stream(self.name):
            data = rest + chunk
            whole = len(data) - len(data) % _OFFSET_BYTES
            rest = data[whole:]
            for end in _offsets(data[:whole]):
                if begin is not None:
                    yield self._range(shard, begin, end)
                    shard += 1
                begin = end

    async def _rebuild(self) -> bool:
        """Write the table again; return whether it is there then."""
        try:
            canonicaliser = await _canonicalise(self.store, self.manifest, self.manifest_etag, self.mini_batch_size)
        except (BlobNotFound, PreconditionFailed):
            return False
        with suppress(PreconditionFailed):  # another worker was quicker
            await _write_table(self.store, self.name, self.manifest_etag, canonicaliser)
        extra = {"action": "shard_table_rebuilt", "blob": self.name}
        _log.warning("shard table made again: %s", self.name, extra=extra)
        return True

    def _range(self, shard: int, begin: int, end: int) -> ShardRange:
        return ShardRange(shard, begin, end - begin, *shard_bounds(shard, self.mini_batch_size, self.total))


def shard_bounds(shard: int, mini_batch_size: int, total: int) -> tuple[int, int]:
    """Return the index of a shard's first item, and how many items it has."""
    first = shard * mini_batch_size
    return first, min(mini_batch_size, total - first)


def _offsets(data: bytes) -> array[int]:
    offsets = array("Q", data)
    if sys.byteorder == "big":
        offsets.byteswap()
    return offsets
