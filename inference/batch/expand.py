"""Owns the way from a manifest message to a batch: canonical manifest, record, shard messages, finish message.

Every step can be repeated, and a step that an earlier delivery did is found done. It refuses to score anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

from msgspec import Struct
from opentelemetry.trace import SpanKind

from inference import telemetry
from inference.batch import layout
from inference.batch.account import Account
from inference.batch.burials import Burials, grave_of_manifest, grave_of_unreadable
from inference.batch.callbacks import Callbacks
from inference.batch.canonical import Canonicaliser, CanonicalManifest, ShardRange, digest_items, write_canonical
from inference.batch.concurrency import for_each
from inference.batch.messages import FinishMessage, ManifestMessage, ShardMessage, digest
from inference.batch.parts import PartStore
from inference.batch.ports import Clock, Delivery, ModelPin, Queues, Scorer, Stores
from inference.batch.record import BatchRecord, Records, current_traceparent
from inference.batch.source import Source, open_source
from inference.batch.stops import Stops
from inference.errors import BatchConflict, InferenceError, InvalidManifest, StorageUnavailable
from inference.settings import BatchSettings
from inference.storage import ABSENT, PreconditionFailed

#: Metadata of the blob that says that every message was sent: the manifest came from the poison queue by then.
_RECOVERED = "recovered"


class Expander(Struct, frozen=True):
    """Expands manifests."""

    stores: Stores
    queues: Queues
    records: Records
    parts: PartStore
    burials: Burials
    callbacks: Callbacks
    stops: Stops
    scorer: Scorer
    settings: BatchSettings
    clock: Clock
    account: Account | None = None

    async def expand(self, delivery: Delivery) -> None:
        """Turn a manifest message into a batch under way, or into a dead letter when that can never be.

        Raises Unavailable, so that the host delivers the message again.
        """
        try:
            message = ManifestMessage.decode(delivery.body)
        except InvalidManifest as exc:
            grave = grave_of_unreadable(layout.QueueName.MANIFESTS, delivery.body)
            await self.burials.bury(grave, delivery, exc)
            return
        batch_id = message.batch_id or derive_batch_id(delivery.message_id)
        with telemetry.span(
            "batch.expand",
            parent=message.traceparent,
            kind=SpanKind.CONSUMER,
            attributes={"batch.id": batch_id},
        ):
            await self._expand(message, batch_id, delivery)

    async def _expand(self, message: ManifestMessage, batch_id: str, delivery: Delivery) -> None:
        try:
            record = await self._establish(message, batch_id, delivery)
        except InferenceError as exc:
            if exc.retryable:
                raise
            await self.bury(message, batch_id, delivery, exc)
            return
        await self._dispatch(record, delivery)
        await self.conclude(message, batch_id)

    async def conclude(self, message: ManifestMessage, batch_id: str) -> None:
        """Forget what stood for the manifest as long as not every message of its batch was sent."""
        await self.records.drop_ticket(batch_id)
        await self.burials.forget(grave_of_manifest(message, batch_id).key)

    async def bury(self, message: ManifestMessage, batch_id: str, delivery: Delivery, error: Exception) -> None:
        """Give a manifest up: its dead letter stays, and its id is free for a repaired one."""
        await self.burials.bury(grave_of_manifest(message, batch_id), delivery, error)
        await self.records.drop_ticket(batch_id)
        if await self.records.find(batch_id) is None:
            await self.stops.forget(batch_id)

    async def _establish(self, message: ManifestMessage, batch_id: str, delivery: Delivery) -> BatchRecord:
        """Return the batch's record, made from this message or found to be the same. Raises BatchConflict."""
        record = await self.records.find(batch_id)
        if record and await self._is_ours(record, message, delivery):
            return record
        self.callbacks.check(message.callback_url)
        source = await open_source(message, self.stores.manifests, self.account)
        if record is None:
            pin = await self.scorer.resolve(message.model, message.parameters)
            canonical = await self._canonicalise(message, batch_id, source)
            ticket = await self.records.find_ticket(batch_id)
            created_at = ticket.created_at if ticket else self.clock().isoformat()
            mine = self._record(message, batch_id, delivery, source, pin, canonical, created_at)
            if await self.records.create(mine):
                return mine
            record = await self.records.find(batch_id)
            if record is None:  # storage refused to create what is not there
                raise StorageUnavailable("The batch's record could not be created.")
            if await self._is_ours(record, message, delivery):  # it was created, and the reply was lost
                return record
        await check_same(record, message, source, self.settings.max_manifest_items)
        return record

    async def _is_ours(self, record: BatchRecord, message: ManifestMessage, delivery: Delivery) -> bool:
        """Tell whether an earlier delivery of this message, or of a copy of it, made the record.

        Then the record counts, even if the manifest was changed or deleted since.
        """
        if record.message_id == delivery.message_id:
            return True
        return record.asked == message.key and not await self.is_expanded(record.batch_id)

    async def is_begun(self, batch_id: str, message: ManifestMessage) -> bool:
        """Tell whether there is a batch of this manifest: it need not be read any more to send what is left."""
        record = await self.records.find(batch_id)
        return record is not None and record.asked == message.key

    async def is_expanded(self, batch_id: str) -> bool:
        """Tell whether every message of the batch was sent."""
        return await self.stores.manifests.properties(layout.expanded(batch_id)) is not None

    async def identify(self, message: ManifestMessage) -> str:
        """Return a key of what the message means now: another one for a path whose blob has changed."""
        try:
            return (await open_source(message, self.stores.manifests, self.account)).key
        except InferenceError as exc:
            if exc.retryable:
                raise
            return message.key  # expanding it will tell why

    async def is_recovered(self, batch_id: str, message: ManifestMessage) -> bool:
        """Tell whether a message from the poison queue sent the last of the batch, and `message` means the same items.

        It may be the same one then: the host may make two of one message.
        """
        sent = await self.stores.manifests.properties(layout.expanded(batch_id))
        if sent is None or _RECOVERED not in sent.metadata:
            return False
        try:
            source = await open_source(message, self.stores.manifests, self.account)
            await check_same(await self.records.read(batch_id), message, source, self.settings.max_manifest_items)
        except InferenceError as exc:
            if exc.retryable:
                raise
            return False
        return True

    async def _canonicalise(self, message: ManifestMessage, batch_id: str, source: Source) -> CanonicalManifest:
        size = message.mini_batch_size or self.settings.shard_size
        canonicaliser = Canonicaliser(size, self.settings.max_manifest_items)
        return await write_canonical(self.stores.manifests, batch_id, source.key, source.items(), canonicaliser)

    def _record(
        self,
        message: ManifestMessage,
        batch_id: str,
        delivery: Delivery,
        source: Source,
        pin: ModelPin,
        canonical: CanonicalManifest,
        created_at: str,
    ) -> BatchRecord:
        retries = message.max_retries
        return BatchRecord(
            batch_id=batch_id,
            digest=digest_batch(message, canonical.digest),
            asked=message.key,
            source=source.key,
            message_id=delivery.message_id,
            model=pin.name,
            version=pin.version,
            sha256=pin.sha256,
            parameters=message.parameters,
            total=canonical.total,
            shards=canonical.shards,
            mini_batch_size=canonical.mini_batch_size,
            max_attempts=self.settings.max_attempts if retries is None else retries + 1,
            error_threshold=message.error_threshold,
            callback_url=message.callback_url,
            manifest=canonical.manifest,
            manifest_etag=canonical.etag,
            table=canonical.table,
            created_at=created_at,
            traceparent=current_traceparent(),
        )

    async def _dispatch(self, record: BatchRecord, delivery: Delivery) -> None:
        """Send every message of the batch that may not have been sent, then note that all were."""
        if await self.is_expanded(record.batch_id):
            return

        async def send(shard: ShardRange) -> None:
            await self.queues.shards.send(shard_message(record, shard).encode())

        await for_each(self._unsent(record, delivery), send)
        delay = self.settings.finish_poll_seconds
        finish = FinishMessage(batch_id=record.batch_id, delay_seconds=delay, traceparent=record.traceparent)
        await self.queues.finish.send(finish.encode(), delay_seconds=delay)
        metadata = {_RECOVERED: "true"} if delivery.is_recovered else None
        try:
            await self.stores.manifests.write(layout.expanded(record.batch_id), b"", if_match=ABSENT, metadata=metadata)
        except PreconditionFailed:
            return

    async def _unsent(self, record: BatchRecord, delivery: Delivery) -> AsyncIterator[ShardRange]:
        """Yield the shards whose message may not have been sent; a part says that one was."""
        sent: set[int] = set()
        if delivery.is_redelivery:
            sent = {counts.shard async for counts in self.parts.list(record.batch_id)}
        async for shard in record.table_in(self.stores).read_all():
            if shard.shard not in sent:
                yield shard


def shard_message(record: BatchRecord, shard: ShardRange) -> ShardMessage:
    """Return the first message for a whole shard."""
    return ShardMessage(
        batch_id=record.batch_id,
        shard=shard.shard,
        offset=shard.offset,
        bytes=shard.bytes,
        first=shard.first,
        count=shard.count,
        traceparent=record.traceparent,
    )


def derive_batch_id(message_id: str) -> str:
    """Return the id of a batch whose message names none: the same for every delivery of the message."""
    candidate = f"m-{message_id.lower()}"
    if layout.is_batch_id(candidate):
        return candidate
    return f"m-{hashlib.sha256(message_id.encode()).hexdigest()[:32]}"


def digest_batch(message: ManifestMessage, manifest_digest: str) -> str:
    """Return what two submissions of one id are compared by."""
    return digest({**message.settings, "manifest": manifest_digest})


async def check_same(record: BatchRecord, message: ManifestMessage, source: Source, max_items: int) -> None:
    """Raise BatchConflict, naming both digests, when the batch has other content than `message`."""
    if source.key == record.source and source.is_fixed:
        return
    theirs, _ = await digest_items(source.items(), max_items)
    if (mine := digest_batch(message, theirs)) != record.digest:
        raise BatchConflict(
            f"The batch {record.batch_id} exists with other content: {record.digest[:16]}… there, {mine[:16]}… here."
        )
