"""Owns a batch's record, what the batch is: written once, read often, never changed; and the ticket before it.

It refuses to hold anything that changes while the batch runs: that is counted from the parts.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Any, Literal

import msgspec

from inference import telemetry
from inference.batch import layout
from inference.batch.canonical import ShardTable
from inference.batch.ports import ModelPin, Stores
from inference.errors import BatchNotFound
from inference.schema import Record
from inference.storage import ABSENT, BlobNotFound, BlobProperties, PreconditionFailed

_CACHED_RECORDS = 64


class BatchRecord(Record, frozen=True, kw_only=True):
    """What a batch is, pinned when it was expanded."""

    v: Literal[1] = 1
    batch_id: str
    #: SHA-256 over canonical manifest and settings: two submissions of one id are one batch when these are equal.
    digest: str
    #: Keys of what was asked and of what it named, and id of the message, that made the batch.
    asked: str
    source: str
    message_id: str
    model: str
    version: str
    sha256: str
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)
    total: int
    shards: int
    mini_batch_size: int
    max_attempts: int
    error_threshold: int
    #: As submitted, so perhaps with a secret in it.
    callback_url: str | None = None
    manifest: str
    manifest_etag: str
    table: str
    created_at: str
    traceparent: str

    @property
    def pin(self) -> ModelPin:
        """The model version that every item is scored with."""
        return ModelPin(self.model, self.version, self.sha256)

    @property
    def trace_id(self) -> str:
        """The batch's trace in hex."""
        return self.traceparent.split("-")[1]

    def table_in(self, stores: Stores) -> ShardTable:
        """Return the table of where the shards lie."""
        return ShardTable(
            stores.manifests, self.table, self.manifest, self.manifest_etag, self.total, self.mini_batch_size
        )


class Ticket(Record, frozen=True, kw_only=True):
    """A submission that was accepted over HTTP, or sent by `onnxfn`, and is not expanded yet."""

    batch_id: str
    #: None when the manifest stands in storage and was not read.
    digest: str | None
    #: 0 when the manifest was not read.
    total: int
    created_at: str


class Records:
    """The records and tickets in the container `manifests`."""

    def __init__(self, stores: Stores) -> None:
        self._manifests = stores.manifests
        self._recent: OrderedDict[str, BatchRecord] = OrderedDict()

    async def read(self, batch_id: str) -> BatchRecord:
        """Return the record. Raises BatchNotFound."""
        record = await self.find(batch_id)
        if record is None:
            raise BatchNotFound
        return record

    async def find(self, batch_id: str) -> BatchRecord | None:
        """Return the record, or None when the batch was not expanded (or never heard of)."""
        if record := self._recent.get(batch_id):
            self._recent.move_to_end(batch_id)
            return record
        try:
            blob = await self._manifests.read(layout.record(batch_id))
        except BlobNotFound:
            return None
        record = msgspec.json.decode(blob.data, type=BatchRecord)
        self._recent[batch_id] = record
        if len(self._recent) > _CACHED_RECORDS:
            self._recent.popitem(last=False)
        return record

    async def create(self, record: BatchRecord) -> bool:
        """Write the record; False when there is one."""
        metadata = {"created_at": record.created_at, "asked": record.asked, "total": str(record.total)}
        return await self._create(layout.record(record.batch_id), record, metadata)

    async def list(self) -> AsyncIterator[BlobProperties]:
        """Yield the records' properties (metadata: created_at, asked, total)."""
        async for properties in self._manifests.list(layout.RECORDS):
            yield properties

    async def find_ticket(self, batch_id: str) -> Ticket | None:
        """Return the ticket, or None when there is none (any more)."""
        try:
            blob = await self._manifests.read(layout.ticket(batch_id))
        except BlobNotFound:
            return None
        return msgspec.json.decode(blob.data, type=Ticket)

    async def create_ticket(self, ticket: Ticket) -> bool:
        """Write the ticket; False when there is one."""
        return await self._create(layout.ticket(ticket.batch_id), ticket, {"created_at": ticket.created_at})

    async def list_tickets(self) -> AsyncIterator[BlobProperties]:
        """Yield the tickets' properties (metadata: created_at)."""
        async for properties in self._manifests.list(layout.TICKETS):
            yield properties

    async def drop_ticket(self, batch_id: str) -> None:
        """Delete the ticket: the record stands in for it."""
        await self._manifests.delete(layout.ticket(batch_id))

    async def _create(self, name: str, value: Record, metadata: dict[str, str]) -> bool:
        data = msgspec.json.encode(value)
        try:
            await self._manifests.write(name, data, if_match=ABSENT, metadata=metadata, content_type="application/json")
        except PreconditionFailed:
            return False
        return True


def current_traceparent() -> str:
    """Return the current span's traceparent, or a new one: rows carry a trace id also where nothing is traced."""
    return telemetry.traceparent() or f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"


def current_trace_id() -> str:
    """Return the current trace id in hex, or a new one."""
    return current_traceparent().split("-")[1]
