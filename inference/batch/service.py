"""Owns the joining of the batch path's parts, and its entry points for queues, HTTP and the command line.

It refuses logic: each entry point is one call to the part that owns the matter.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime

from inference.batch import layout
from inference.batch.account import Account
from inference.batch.burials import Burials, grave_of_unreadable
from inference.batch.callbacks import Callbacks
from inference.batch.deadletters import DeadLetters
from inference.batch.expand import Expander
from inference.batch.finish import Finisher
from inference.batch.journals import Journals
from inference.batch.messages import FinishMessage, ShardMessage
from inference.batch.parts import PartStore
from inference.batch.ports import Clock, Delivery, Draining, Poster, Queues, Random, Scorer, Stores
from inference.batch.record import Records
from inference.batch.recover import Recovery
from inference.batch.replay import Operations, Outcome
from inference.batch.results import find_results, read_range, read_results, read_table
from inference.batch.scoring import ShardScoring
from inference.batch.selection import DeadLetterFilter, DeadLetterPage, DeadLetterReader
from inference.batch.shard import ShardWorker
from inference.batch.status import BatchStatus, Statuses
from inference.batch.stops import Stops, StopWatches
from inference.batch.submission import Submission, Submissions
from inference.batch.survey import BatchState
from inference.batch.suspects import Isolation, Suspects
from inference.errors import BatchCancelled, InvalidMessage, NotFound
from inference.settings import BatchSettings, CallbackSettings
from inference.storage import BlobProperties

type DeliveryHandler = Callable[[Delivery], Awaitable[None]]

_ENDED = frozenset({BatchState.SUCCEEDED, BatchState.FAILED, BatchState.CANCELLED})
_MAX_PAGE = 1000


def _now() -> datetime:
    return datetime.now(UTC)


class BatchService:
    """The batch path of one process, on one event loop."""

    def __init__(
        self,
        stores: Stores,
        queues: Queues,
        scorer: Scorer,
        settings: BatchSettings,
        *,
        account: Account | None = None,
        poster: Poster | None = None,
        callbacks: CallbackSettings | None = None,
        draining: Draining | None = None,
        clock: Clock = _now,
        random: Random = random.random,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stores = stores
        self._queues = queues
        self._records = Records(stores)
        self._stops = Stops(stores.manifests)
        self._burials = Burials(stores.deadletters, clock)
        self._reader = DeadLetterReader(stores.deadletters)
        parts = PartStore(stores.results)
        dead_letters = DeadLetters(stores.deadletters, parts)
        suspects = Suspects(stores.manifests, settings.suspect_after_deliveries)
        self._journals = Journals(stores, queues, parts, dead_letters)
        self._callbacks = Callbacks(queues, self._records, poster, callbacks or CallbackSettings(), settings, random)
        self._expander = Expander(
            stores,
            queues,
            self._records,
            parts,
            self._burials,
            self._callbacks,
            self._stops,
            scorer,
            settings,
            clock,
            account,
        )
        self._shards = ShardWorker(
            stores,
            queues,
            self._records,
            parts,
            dead_letters,
            self._stops,
            StopWatches(self._stops, monotonic),
            suspects,
            Isolation(),
            ShardScoring(scorer, settings, draining or asyncio.Event(), monotonic),
            settings,
            clock,
            random,
        )
        self._finisher = Finisher(
            stores, queues, self._records, parts, dead_letters, self._journals, self._stops, settings
        )
        self._recovery = Recovery(
            queues, self._records, self._burials, self._expander, self._shards, suspects, settings
        )
        self._statuses = Statuses(stores, self._records, parts, self._journals, self._burials, clock)
        self._submissions = Submissions(
            stores, queues, self._records, self._callbacks, scorer, settings, clock, account
        )
        self._operations = Operations(
            stores, queues, self._records, parts, dead_letters, self._journals, self._burials, self._reader
        )

    @property
    def deliveries(self) -> dict[str, DeliveryHandler]:
        """Return the handler of each queue that a function is triggered by, poison partners included."""
        handlers: dict[str, DeliveryHandler] = {
            layout.QueueName.MANIFESTS: self.on_manifest,
            layout.QueueName.SHARDS: self.on_shard,
            layout.QueueName.FINISH: self.on_finish,
        }
        for queue in layout.WORK_QUEUES:
            handlers[layout.poison(queue)] = self._poison_handler(queue)
        return handlers

    async def on_manifest(self, delivery: Delivery) -> None:
        """Expand a manifest. Raises Unavailable, to be delivered again."""
        await self._expander.expand(delivery)

    async def on_shard(self, delivery: Delivery) -> None:
        """Score a shard. Raises Unavailable, to be delivered again."""
        try:
            await self._shards.work(delivery, ShardMessage.decode(delivery.body))
        except (InvalidMessage, NotFound) as exc:
            await self._bury(layout.QueueName.SHARDS, delivery, exc)

    async def on_finish(self, delivery: Delivery) -> None:
        """Bring a batch forward and to its end, or tell its callback url. Raises Unavailable, to be delivered again."""
        try:
            message = FinishMessage.decode(delivery.body)
            if message.event is None:
                await self._finisher.work(delivery, message)
            else:
                await self._callbacks.deliver(message, message.event)
        except (InvalidMessage, NotFound) as exc:
            await self._bury(layout.QueueName.FINISH, delivery, exc)

    async def on_poison(self, queue: str, delivery: Delivery) -> None:
        """Deal with a message that the host gave up on; `queue` with or without its `-poison`."""
        await self._recovery.recover(queue.removesuffix("-poison"), delivery)

    async def submit(
        self, body: bytes, content_type: str = "application/json", options: Mapping[str, str] | None = None
    ) -> Submission:
        """Accept a manifest over HTTP. Raises InvalidRequest, NotFound, BatchConflict, Unavailable."""
        return await self._submissions.submit(body, content_type, options or {})

    async def status(self, batch_id: str) -> BatchStatus:
        """Return how far a batch is. Raises BatchNotFound."""
        return await self._statuses.read(batch_id)

    async def list_batches(self, limit: int = 100) -> list[BatchStatus]:
        """Return the statuses of the newest batches, the newest first."""
        return await self._statuses.list(limit)

    async def results(self, batch_id: str, *, is_table: bool = False) -> AsyncIterator[bytes]:
        """Yield the results as JSON Lines, or as CSV. Raises BatchNotFound, NotFound before the first chunk."""
        await self._check_known(batch_id)
        read = read_table if is_table else read_results
        async for chunk in read(self._stores.results, batch_id):
            yield chunk

    async def find_results(self, batch_id: str) -> BlobProperties:
        """Return the properties of the results as JSON Lines. Raises BatchNotFound, NotFound."""
        await self._check_known(batch_id)
        return await find_results(self._stores.results, batch_id)

    async def read_results(self, found: BlobProperties, first: int, length: int) -> bytes:
        """Return bytes [first, first + length) of what `find_results` found. Raises Unavailable once it is replaced."""
        return await read_range(self._stores.results, found, first, length)

    async def _check_known(self, batch_id: str) -> None:
        if not layout.is_batch_id(batch_id) or await self._records.find(batch_id) is None:
            # One that was accepted and waits to be expanded, or was refused then, is a batch too, without results.
            await self.status(batch_id)

    async def cancel(self, batch_id: str) -> BatchStatus:
        """End a batch: items that were not scored end as failed, and can be replayed. Raises BatchNotFound."""
        status = await self.status(batch_id)
        if status.state in _ENDED:
            return status
        await self._stops.write(batch_id, status.round, BatchCancelled)
        if await self._records.find(batch_id):
            errand = FinishMessage(batch_id=batch_id, round=status.round, is_errand=True)
            await self._queues.finish.send(errand.encode())
        return await self.status(batch_id)

    async def list_dead_letters(self, wanted: DeadLetterFilter) -> DeadLetterPage:
        """Return a page of dead letters."""
        return await self._reader.page(wanted, _MAX_PAGE)

    async def replay(self, wanted: DeadLetterFilter, *, dry_run: bool = False) -> Outcome:
        """Try failed items, and refused manifests, again."""
        return await self._operations.replay(wanted, dry_run=dry_run)

    async def purge(self, wanted: DeadLetterFilter, *, dry_run: bool = False) -> Outcome:
        """Forget dead letters."""
        return await self._operations.purge(wanted, dry_run=dry_run)

    def export(self, wanted: DeadLetterFilter) -> AsyncIterator[bytes]:
        """Yield failed items as a manifest, with the urls as they were submitted."""
        return self._operations.export(wanted)

    def _poison_handler(self, queue: str) -> DeliveryHandler:
        async def handle(delivery: Delivery) -> None:
            await self.on_poison(queue, delivery)

        return handle

    async def _bury(self, queue: str, delivery: Delivery, error: Exception) -> None:
        await self._burials.bury(grave_of_unreadable(queue, delivery.body), delivery, error)
