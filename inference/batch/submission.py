"""Owns the acceptance of a manifest over HTTP: check it while the caller waits, keep it, send the message.

It refuses to expand: that is the queue's work, however the manifest came.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import orjson
from msgspec import Struct

from inference import telemetry
from inference.batch import layout
from inference.batch.account import Account
from inference.batch.callbacks import Callbacks
from inference.batch.canonical import digest_items
from inference.batch.expand import check_same, digest_batch
from inference.batch.manifest import read_items
from inference.batch.messages import ManifestMessage, read_json
from inference.batch.ports import Clock, Queues, Scorer, Stores
from inference.batch.record import Records, Ticket
from inference.batch.source import open_source, read_images
from inference.batch.uploads import keep_images, keep_payload
from inference.errors import BatchConflict, InvalidManifest, PayloadTooLarge, UnsupportedMediaType
from inference.schema import measure_json, read_number
from inference.settings import BatchSettings
from inference.storage import MAX_MESSAGE_BYTES

_JSON = "application/json"
#: Bodies that are a manifest themselves; which form they have is seen from their first bytes. JSON Lines has no
#: registered type: these are the names that clients and tools give it.
_MANIFEST_TYPES = frozenset(
    {
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonl",
        "application/jsonlines",
        "application/x-jsonlines",
        "application/gzip",
        "application/octet-stream",
        "text/csv",
        "text/plain",
    }
)
#: More than a body has room for urls. A document of JSON is parsed whole, and while it is, nothing else is done; the
#: other forms are read as a stream.
_MAX_JSON_VALUES = 2_000_000
#: Bytes handed to the parser at a time.
_CHUNK_BYTES = 1024 * 1024
_TEXTS = ("batch_id", "model", "callback_url")
_NUMBERS = ("mini_batch_size", "error_threshold", "max_retries")


class Submission(Struct, frozen=True):
    """An accepted batch."""

    batch_id: str


class Submissions(Struct, frozen=True):
    """Accepts manifests."""

    stores: Stores
    queues: Queues
    records: Records
    callbacks: Callbacks
    scorer: Scorer
    settings: BatchSettings
    clock: Clock
    account: Account | None

    async def submit(self, body: bytes, content_type: str, options: Mapping[str, str]) -> Submission:
        """Accept a manifest; `options` (query parameters) say of a bare manifest what a JSON one says itself.

        Raises InvalidManifest, PayloadTooLarge, UnsupportedMediaType, ManifestNotFound, ModelNotFound, BatchConflict,
        Unavailable.
        """
        # On a thread: a large one takes seconds, in which others want an answer.
        message, payload = await asyncio.to_thread(read_submission, body, content_type, options)
        self.callbacks.check(message.callback_url)
        await self.scorer.resolve(message.model, message.parameters)
        digest, total = await self._check(message, payload)
        batch_id = message.batch_id or str(uuid.uuid4())
        message = message.changed(batch_id=batch_id, traceparent=telemetry.traceparent())
        if await self._is_known(message, batch_id, digest):
            return Submission(batch_id)
        manifests = self.stores.manifests
        if payload is not None:
            message = message.changed(manifest=await keep_payload(manifests, batch_id, payload))
        elif message.images is not None and _is_too_long(message, message.images):
            message = message.changed(images=None, manifest=await keep_images(manifests, batch_id, message.images))
        await self._take_ticket(Ticket(batch_id=batch_id, digest=digest, total=total, created_at=self._now()))
        await self.queues.manifests.send(message.encode())
        return Submission(batch_id)

    async def _check(self, message: ManifestMessage, payload: bytes | None) -> tuple[str | None, int]:
        """Return the digest and number of items where they can be told now."""
        limit = self.settings.max_manifest_items
        if payload is not None:
            items = read_items(_chunks(payload))
        elif message.images is not None:
            items = read_images(message.images)
        else:
            await open_source(message, self.stores.manifests, self.account)
            return None, 0
        manifest_digest, total = await digest_items(items, limit)
        return digest_batch(message, manifest_digest), total

    async def _is_known(self, message: ManifestMessage, batch_id: str, digest: str | None) -> bool:
        """Tell whether the batch exists with this content. Raises BatchConflict when it has other content."""
        record = await self.records.find(batch_id)
        if record is None:
            return False
        if digest is None:
            source = await open_source(message, self.stores.manifests, self.account)
            await check_same(record, message, source, self.settings.max_manifest_items)
        else:
            _refuse_other(batch_id, record.digest, digest)
        return True

    async def _take_ticket(self, ticket: Ticket) -> None:
        if await self.records.create_ticket(ticket):
            return
        earlier = await self.records.find_ticket(ticket.batch_id)
        if earlier and earlier.digest and ticket.digest:
            _refuse_other(ticket.batch_id, earlier.digest, ticket.digest)

    def _now(self) -> str:
        return self.clock().isoformat()


def read_submission(body: bytes, content_type: str, options: Mapping[str, str]) -> tuple[ManifestMessage, bytes | None]:
    """Return the message that a request stands for, and the manifest when the body is one.

    Raises InvalidManifest, PayloadTooLarge, UnsupportedMediaType.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    asked = _read_options(options)
    if media_type == _JSON or media_type.endswith("+json"):
        if measure_json(body).values > _MAX_JSON_VALUES:
            raise PayloadTooLarge(f"The manifest has over {_MAX_JSON_VALUES} values; send it as JSON Lines or CSV.")
        value = read_json(body)
        if not isinstance(value, dict):
            raise InvalidManifest("A manifest message is a JSON object.")
        if twice := value.keys() & asked.keys():
            raise InvalidManifest(f"{min(twice)}: given in the body and in the query.")
        return ManifestMessage.of({**asked, **value}), None
    if media_type not in _MANIFEST_TYPES:
        raise UnsupportedMediaType("A manifest is JSON, JSON Lines, CSV or plain text, perhaps gzip.")
    # The pointer is filled in once the manifest is kept; until then it is only there to make the message whole.
    return ManifestMessage.of({**asked, "manifest": layout.UPLOADS}), body


def _read_options(options: Mapping[str, str]) -> dict[str, Any]:
    known: dict[str, Any] = {name: options[name] for name in _TEXTS if name in options}
    for name in _NUMBERS:
        if name in options:
            try:
                known[name] = read_number(int, options[name])
            except ValueError:
                raise InvalidManifest(f"{name}: not a whole number.") from None
    return known


def _refuse_other(batch_id: str, theirs: str, mine: str) -> None:
    if theirs != mine:
        raise BatchConflict(f"The batch {batch_id} exists with other content: {theirs[:16]}… there, {mine[:16]}… here.")


def _is_too_long(message: ManifestMessage, images: Iterable[object]) -> bool:
    """Tell whether the queue takes no message of this size, without writing one of many megabytes."""
    total = 0
    for image in images:
        total += len(orjson.dumps(image))
        if total > MAX_MESSAGE_BYTES:
            return True
    return len(message.encode()) > MAX_MESSAGE_BYTES


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), _CHUNK_BYTES):
        yield data[start : start + _CHUNK_BYTES]
