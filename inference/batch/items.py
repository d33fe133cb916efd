"""Owns the reading of a shard's items from the batch's own copy of its manifest.

It refuses to guess: a copy that was deleted or changed gives no item, and rows of which only the index is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from inference.batch.messages import ShardMessage
from inference.batch.parts import Part
from inference.batch.record import BatchRecord
from inference.batch.rows import Row
from inference.errors import ManifestNotFound
from inference.redaction import redact_url
from inference.storage import BlobNotFound, BlobStore, PreconditionFailed


@dataclass(frozen=True, slots=True)
class ShardItems:
    """What the manifest says of one shard."""

    #: Its rows as they were before anything was tried.
    blank: Part
    #: What they stand for, in the same order; not redacted.
    urls: tuple[str, ...]


async def read_items(manifests: BlobStore, record: BatchRecord, message: ShardMessage) -> ShardItems:
    """Return the items of a message's shard. Raises ManifestNotFound when they cannot be known any more."""
    first, count = _bounds(record, message.shard)
    try:
        if not message.bytes:  # whoever sent it did not find the table of shards
            raise BlobNotFound(record.table)
        data = await manifests.read_range(record.manifest, message.offset, message.bytes, if_match=record.manifest_etag)
        items = [orjson.loads(line) for line in data.splitlines()]
        if len(items) != count:
            raise BlobNotFound(record.table)
    except (BlobNotFound, PreconditionFailed, orjson.JSONDecodeError):
        raise ManifestNotFound("The batch's copy of its manifest was deleted or changed.") from None
    blank = (Row(index, item["id"], redact_url(item["url"])) for index, item in enumerate(items, first))
    return ShardItems(Part(tuple(blank)), tuple(item["url"] for item in items))


def unknown_rows(record: BatchRecord, shard: int) -> Part:
    """Return the rows of a shard whose items nobody can tell: the id is the index, as of items without one."""
    first, count = _bounds(record, shard)
    return Part(tuple(Row(index, str(index), "") for index in range(first, first + count)))


def _bounds(record: BatchRecord, shard: int) -> tuple[int, int]:
    """Return index of the first item, and number of items."""
    first = shard * record.mini_batch_size
    return first, min(record.mini_batch_size, record.total - first)
