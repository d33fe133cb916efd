"""Owns the reading of a shard's items from the batch's own copy of its manifest.

It refuses to guess: a copy that was deleted or changed gives no item, and rows of which only the index is known.
"""

from __future__ import annotations

import orjson
from msgspec import Struct

from inference.batch.canonical import shard_bounds
from inference.batch.messages import ShardMessage
from inference.batch.parts import Part
from inference.batch.record import BatchRecord
from inference.batch.rows import Row
from inference.errors import ManifestNotFound
from inference.redaction import redact_url
from inference.storage import BlobNotFound, BlobStore, PreconditionFailed

_LOST = "The batch's copy of its manifest was deleted or changed."


class ShardItems(Struct, frozen=True):
    """What the manifest says of one shard."""

    #: Its rows as they were before anything was tried.
    blank: Part
    #: What they stand for, in the same order; not redacted.
    urls: tuple[str, ...]


async def read_lines(manifests: BlobStore, record: BatchRecord, offset: int, length: int) -> list[bytes]:
    """Return the lines of a shard, which are those bytes of the batch's copy. Raises ManifestNotFound."""
    try:
        if length:  # else nobody found the table of shards
            data = await manifests.read_range(record.manifest, offset, length, if_match=record.manifest_etag)
            return data.splitlines(keepends=True)
    except (BlobNotFound, PreconditionFailed):
        pass
    raise ManifestNotFound(_LOST)


async def read_items(manifests: BlobStore, record: BatchRecord, message: ShardMessage) -> ShardItems:
    """Return the items of a message's shard. Raises ManifestNotFound when they cannot be known any more."""
    first, count = shard_bounds(message.shard, record.mini_batch_size, record.total)
    lines = await read_lines(manifests, record, message.offset, message.bytes)
    try:
        items = [orjson.loads(line) for line in lines]
    except orjson.JSONDecodeError:
        raise ManifestNotFound(_LOST) from None
    if len(items) != count:
        raise ManifestNotFound(_LOST)
    blank = (Row(index, item["id"], redact_url(item["url"])) for index, item in enumerate(items, first))
    return ShardItems(Part(tuple(blank)), tuple(item["url"] for item in items))


def unknown_rows(record: BatchRecord, shard: int) -> Part:
    """Return the rows of a shard whose items nobody can tell: the id is the index, as of items without one."""
    first, count = shard_bounds(shard, record.mini_batch_size, record.total)
    return Part(tuple(Row(index, str(index), "") for index in range(first, first + count)))
