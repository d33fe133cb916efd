"""Owns the dead letters of whole messages: manifests that cannot become a batch, and messages that are not ours.

One record for each thing that was asked, however often it arrives. It refuses to decide what cannot be done.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from typing import Any, Literal

import msgspec
import orjson
from msgspec import Struct

from inference.batch import layout
from inference.batch.messages import ManifestMessage
from inference.batch.ports import Clock, Delivery
from inference.batch.record import current_trace_id
from inference.batch.retry import RowError, describe
from inference.errors import StorageUnavailable
from inference.schema import Record
from inference.storage import ABSENT, BlobNotFound, BlobProperties, BlobStore, PreconditionFailed

_MAX_RACES = 10
#: Metadata of the blob.
_QUEUE = "queue"


class Grave(Struct, frozen=True):
    """Where a message is buried, and what of it can be told."""

    key: str
    queue: str
    batch_id: str | None
    #: Whether sending the body again can ever help.
    is_replayable: bool


class BuriedMessage(Record, frozen=True, kw_only=True):
    """The dead letter of a message."""

    kind: str = "message"
    key: str
    batch_id: str | None
    queue: str
    code: str
    message: str
    attempts: int
    first_at: str
    last_at: str
    trace_id: str
    history: tuple[dict[str, Any], ...] = ()
    is_replayable: bool
    #: A replay sent the body again, and no answer has come yet.
    is_replaying: bool = False
    message_id: str
    #: As text when it is text, else in base64.
    body: str
    encoding: Literal["utf-8", "base64"] = "utf-8"

    @property
    def raw_body(self) -> bytes:
        """The body as it arrived."""
        return base64.b64decode(self.body) if self.encoding == "base64" else self.body.encode()

    def replay_body(self) -> bytes:
        """Return what a replay sends: the body, with the batch's id where the user had left it to us."""
        if self.queue != layout.QueueName.MANIFESTS:
            return self.raw_body
        message = ManifestMessage.decode(self.raw_body)
        return message.changed(batch_id=self.batch_id).encode()


class Burials:
    """The dead letters of messages in the container `deadletters`."""

    def __init__(self, deadletters: BlobStore, clock: Clock) -> None:
        self._deadletters = deadletters
        self._clock = clock

    async def bury(self, grave: Grave, delivery: Delivery, error: Exception | RowError) -> None:
        """Write the dead letter, with the history of an earlier one. A redelivery of the same message adds nothing."""
        for _ in range(_MAX_RACES):
            earlier, etag = await self._read(grave.key)
            if earlier and earlier.message_id == delivery.message_id and not earlier.is_replaying:
                return
            try:
                await self._write(self._record(grave, delivery, error, earlier), etag)
            except PreconditionFailed:
                continue
            return
        raise StorageUnavailable("Others keep writing the same dead letter.")

    async def list(self, batch_id: str | None = None) -> AsyncIterator[BlobProperties]:
        """Yield the properties of dead letters of messages, of one batch or all."""
        async for properties in self._deadletters.list(layout.BURIED_MESSAGES + (f"{batch_id}." if batch_id else "")):
            yield properties

    async def list_manifests(self, batch_id: str | None = None) -> AsyncIterator[BlobProperties]:
        """As `list`, of manifests: a work message that nobody can carry out makes no batch of the id that it names."""
        async for properties in self.list(batch_id):
            if properties.metadata.get(_QUEUE) == layout.QueueName.MANIFESTS:
                yield properties

    async def read(self, name: str) -> tuple[BuriedMessage, str] | None:
        """Return a dead letter and its ETag by the name of its blob, or None."""
        buried, etag = await self._read(name.removeprefix(layout.BURIED_MESSAGES).removesuffix(".json"))
        return (buried, etag) if buried else None

    async def mark_replaying(self, buried: BuriedMessage, etag: str) -> None:
        """Note that the body was sent again, unless the answer was quicker."""
        try:
            await self._write(buried.changed(is_replaying=True), etag)
        except PreconditionFailed:
            return

    async def forget(self, key: str) -> None:
        """Delete a dead letter: it was purged, or what it asked for was done."""
        await self._deadletters.delete(layout.buried_message(key))

    def _record(
        self, grave: Grave, delivery: Delivery, error: Exception | RowError, earlier: BuriedMessage | None
    ) -> BuriedMessage:
        now, why = self._clock().isoformat(), error if isinstance(error, RowError) else describe(error)
        past = {"code": earlier.code, "message": earlier.message, "last_at": earlier.last_at} if earlier else None
        encoding: Literal["utf-8", "base64"] = "utf-8"
        try:
            body = delivery.body.decode()
        except UnicodeDecodeError:
            body, encoding = base64.b64encode(delivery.body).decode(), "base64"
        return BuriedMessage(
            key=grave.key,
            batch_id=grave.batch_id,
            queue=grave.queue,
            code=why.code,
            message=why.message,
            attempts=earlier.attempts + 1 if earlier else 1,
            first_at=earlier.first_at if earlier else now,
            last_at=now,
            trace_id=current_trace_id(),
            history=(*earlier.history, past) if earlier and past else (),
            is_replayable=grave.is_replayable,
            message_id=delivery.message_id,
            body=body,
            encoding=encoding,
        )

    async def _read(self, key: str) -> tuple[BuriedMessage | None, str]:
        try:
            blob = await self._deadletters.read(layout.buried_message(key))
        except BlobNotFound:
            return None, ABSENT
        return msgspec.json.decode(blob.data, type=BuriedMessage), blob.properties.etag

    async def _write(self, buried: BuriedMessage, etag: str) -> None:
        metadata = {"dead": "1", "codes": orjson.dumps({buried.code: 1}).decode(), _QUEUE: buried.queue}
        await self._deadletters.write(
            layout.buried_message(buried.key),
            msgspec.json.encode(buried),
            if_match=etag,
            metadata=metadata,
            content_type="application/json",
        )


def grave_of_manifest(message: ManifestMessage, batch_id: str) -> Grave:
    """Return the grave of a manifest message that could be read."""
    return Grave(f"{batch_id}.{message.key}", layout.QueueName.MANIFESTS, batch_id, is_replayable=True)


def grave_of_unreadable(queue: str, body: bytes) -> Grave:
    """Return the grave of a message that could not be read; the same text of a queue always lies in the same one."""
    batch_id = _find_batch_id(body)
    return Grave(f"{batch_id or '_unreadable'}.{_digest(queue, body)}", queue, batch_id, is_replayable=False)


def grave_of_work(queue: str, body: bytes, batch_id: str) -> Grave:
    """Return the grave of one of our own messages that cannot be carried out."""
    return Grave(f"{batch_id}.{_digest(queue, body)}", queue, batch_id, is_replayable=True)


def _digest(queue: str, body: bytes) -> str:
    """Return one name for a queue and its poison partner, and another for the same text in another queue."""
    return hashlib.sha256(queue.encode() + b"\n" + body).hexdigest()[:32]


def _find_batch_id(body: bytes) -> str | None:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    batch_id = value.get("batch_id") if isinstance(value, dict) else None
    return batch_id if isinstance(batch_id, str) and layout.is_batch_id(batch_id) else None
