"""Builds what works on storage: the batch path, its routes and its deliveries.

It refuses to be imported before it is needed: the storage SDK takes a good part of a second and 20 MB.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from msgspec import Struct

from inference.batch.account import Account
from inference.batch.account_images import AccountFetcher
from inference.batch.layout import WORK_QUEUES, ContainerName, QueueName, poison
from inference.batch.ports import Delivery, Queues, Stores
from inference.batch.service import BatchService
from inference.draining import Draining
from inference.engine import Engine
from inference.fetch import Poster
from inference.http.batches import BatchRoutes
from inference.http.deadletters import DeadLetterRoutes
from inference.http.messages import Handler
from inference.models.registry import ModelRegistry
from inference.pinned import PinnedScorer
from inference.scorer import Fetches
from inference.services.places import Places
from inference.services.scoring import build_scorer
from inference.settings import Settings
from inference.storage.azure import AzureStorage

#: Where models are published when INFERENCE_MODEL_REPOSITORY is a container. The batch path has no business there, but
#: whoever uploads the first model must find it, as the other containers are found.
_MODELS = "models"


class BatchPart(Struct, frozen=True):
    """The batch path, open."""

    routes: Mapping[str, Handler]
    deliveries: Mapping[str, Callable[[Delivery], Awaitable[None]]]
    storage: AzureStorage
    poster: Poster
    places: Places

    async def prepare(self) -> None:
        """Make the queues and containers that are missing.

        In Azure they are there (infra/bicep); on a new machine a user's first message must find its queue.
        """
        await self.places.make()

    async def close(self) -> None:
        """Close the connections."""
        await self.places.close()
        try:
            await self.storage.close()
        finally:
            await self.poster.close()


def build_batches(
    chosen: Settings,
    registry: ModelRegistry,
    engine: Engine,
    fetcher: Fetches,
    draining: Draining,
    own_hosts: list[str],
) -> BatchPart:
    """Build the batch path. Raises SettingsError."""
    storage = AzureStorage.connect(chosen.storage)
    account = Account(storage.blob_endpoint, storage.blobs)
    poster = Poster(chosen.fetch, chosen.callbacks.allow, own_hosts=own_hosts)
    scorer = build_scorer(chosen, registry, engine, AccountFetcher(fetcher, account, chosen.fetch.max_image_bytes))
    batches = BatchService(
        _open_stores(storage),
        _open_queues(storage),
        PinnedScorer(scorer, engine),
        chosen.batch,
        account=account,
        poster=poster,
        callbacks=chosen.callbacks,
        draining=draining,
    )
    routes, dead_letters = BatchRoutes(batches, chosen.requests), DeadLetterRoutes(batches, chosen.requests)
    handlers: dict[str, Handler] = {
        "submit_batch": routes.submit,
        "list_batches": routes.list,
        "batch_status": routes.status,
        "batch_results": routes.results,
        "cancel_batch": routes.cancel,
        "list_dead_letters": dead_letters.list,
        "export_dead_letters": dead_letters.export,
        "replay_dead_letters": dead_letters.replay,
        "purge_dead_letters": dead_letters.purge,
    }
    return BatchPart(handlers, batches.deliveries, storage, poster, _open_places(storage))


def _open_places(storage: AzureStorage) -> Places:
    queues = [*QueueName, *map(poison, WORK_QUEUES)]
    creations = {f"The queue {name}": storage.queue(name).create for name in queues}
    containers = [*ContainerName, _MODELS]
    return Places(creations | {f"The container {name}": storage.blobs(name).create for name in containers})


def _open_stores(storage: AzureStorage) -> Stores:
    return Stores(
        manifests=storage.blobs(ContainerName.MANIFESTS),
        results=storage.blobs(ContainerName.RESULTS),
        deadletters=storage.blobs(ContainerName.DEADLETTERS),
    )


def _open_queues(storage: AzureStorage) -> Queues:
    return Queues(
        manifests=storage.queue(QueueName.MANIFESTS),
        shards=storage.queue(QueueName.SHARDS),
        finish=storage.queue(QueueName.FINISH),
        events=storage.queue(QueueName.EVENTS),
    )
