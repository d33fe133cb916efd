"""Owns the poison queues: what the host gave up on is carried on, cut in pieces, or buried with a reason.

It never raises for what a message says: nothing watches over a poison queue. It raises only when storage itself fails.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace
from opentelemetry.trace import SpanKind

from inference import telemetry
from inference.batch import layout
from inference.batch.burials import Burials, grave_of_unreadable, grave_of_work
from inference.batch.expand import Expander
from inference.batch.messages import FinishMessage, ManifestMessage, ShardMessage, WorkMessage
from inference.batch.ports import Delivery, Queues
from inference.batch.record import Records
from inference.batch.retry import INTERNAL_ERROR, RetryPolicy, RowError
from inference.batch.shard import ShardWorker
from inference.batch.suspects import Suspects
from inference.errors import InvalidManifest, InvalidMessage, NotFound, WorkerLost
from inference.settings import BatchSettings

#: Rounds through the poison queue that a message gets when the cause is ours; with the delays below, over half an hour.
MAX_RECOVERIES = 10
#: Deliveries after which a manifest in the poison queue is taken to kill its worker.
_MAX_MANIFEST_DELIVERIES = 10


class Recovery(Struct, frozen=True):
    """Works off poison queues."""

    queues: Queues
    records: Records
    burials: Burials
    expander: Expander
    shards: ShardWorker
    suspects: Suspects
    settings: BatchSettings

    async def recover(self, queue: str, delivery: Delivery) -> None:
        """Deal with a message that the host moved from `queue` to its poison partner."""
        with telemetry.span("batch.recover", kind=SpanKind.CONSUMER, attributes={"batch.queue": queue}):
            try:
                await self._recover(queue, delivery)
            except (InvalidMessage, NotFound) as exc:
                await self.burials.bury(grave_of_unreadable(queue, delivery.body), delivery, exc)

    async def _recover(self, queue: str, delivery: Delivery) -> None:
        if queue == layout.QueueName.MANIFESTS:
            await self._recover_manifest(delivery)
        elif queue == layout.QueueName.SHARDS:
            await self._recover_shard(ShardMessage.decode(delivery.body))
        else:
            await self._recover_finish(delivery, FinishMessage.decode(delivery.body))

    async def _recover_manifest(self, delivery: Delivery) -> None:
        """Expand the manifest as the host could not; under an id that does not come from the message's, now new."""
        try:
            message = ManifestMessage.decode(delivery.body)
        except InvalidManifest as exc:
            raise InvalidMessage(exc.message) from None
        is_deadly = delivery.dequeue_count > _MAX_MANIFEST_DELIVERIES
        again = replace(delivery, dequeue_count=max(delivery.dequeue_count, 2), is_recovered=True)
        for batch_id in [message.batch_id] if message.batch_id else await self._begun(message):
            named = message.changed(batch_id=batch_id)
            if is_deadly and not await self.expander.is_begun(batch_id, message):
                why = WorkerLost("Reading this manifest takes the worker process down, or fails, again and again.")
                await self.expander.bury(named, batch_id, delivery, why)
            elif is_deadly and await self.expander.is_expanded(batch_id):
                await self.expander.conclude(named, batch_id)  # it is what came after that failed, again and again
            else:
                await self.expander.expand(replace(again, body=named.encode()))

    async def _begun(self, message: ManifestMessage) -> list[str]:
        """Return the batches that earlier deliveries of a message without an id may have begun; else one of its own.

        All that are not done: of two equal messages nobody can tell which began which.
        """
        same: list[str] = []
        async for properties in self.records.list():
            batch_id = layout.batch_id_of(properties.name)
            if batch_id.startswith(("m-", "p-")) and properties.metadata.get("asked") == message.key:
                same.append(batch_id)
        if begun := [batch_id for batch_id in same if not await self.expander.is_expanded(batch_id)]:
            return begun
        for batch_id in same:
            if await self.expander.is_recovered(batch_id, message):
                return [batch_id]
        return [f"p-{await self.expander.identify(message)}"]

    async def _recover_shard(self, message: ShardMessage) -> None:
        shard = await self.shards.open_poisoned(message)
        if shard is None:
            return
        lost = await self.suspects.lost(message)
        if self.suspects.is_guilty(message, self.settings.suspect_after_deliveries, len(lost)):
            await self.shards.split(shard)
        elif message.recoveries >= MAX_RECOVERIES:
            why = RowError(INTERNAL_ERROR, "This service failed on the shard again and again.", retryable=True)
            await self.shards.end_range(shard, why)
            await self.suspects.clear(message)
        else:
            await self._send_again(layout.QueueName.SHARDS, message.changed(is_suspect=True))

    async def _recover_finish(self, delivery: Delivery, message: FinishMessage) -> None:
        await self.records.read(message.batch_id)
        if message.recoveries < MAX_RECOVERIES:
            await self._send_again(layout.QueueName.FINISH, message)
            return
        sentence = "This service failed to finish the batch again and again; a replay of this tries on."
        why = RowError(INTERNAL_ERROR, sentence, retryable=True)
        # Not 0: perhaps the event alone is missing, and only a message that came back sends it again.
        fresh = message.changed(recoveries=1, quiet_seconds=0.0)
        buried = Delivery(fresh.encode(), delivery.message_id, delivery.dequeue_count)
        await self.burials.bury(grave_of_work(layout.QueueName.FINISH, buried.body, message.batch_id), buried, why)

    async def _send_again(self, queue: str, message: WorkMessage) -> None:
        """Send a message once more, later each time: the cause is ours, and passes."""
        recoveries = message.recoveries + 1
        delay = RetryPolicy.of(self.settings, MAX_RECOVERIES).backoff(recoveries + 3, jitter=1.0)
        wait = max(delay, message.delay_seconds)
        again = message.changed(recoveries=recoveries, delay_seconds=wait)
        await self.queues.work(queue).send(again.encode(), delay_seconds=wait)
