"""The composition root: every part of the product, built from settings and joined; nothing else constructs them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import cast

from inference import __version__, exporters, settings
from inference.batch.account_images import AccountFetcher
from inference.batch.layout import WORK_QUEUES, ContainerName, QueueName, poison
from inference.batch.ports import Account, Delivery, Queues, Stores
from inference.batch.service import BatchService
from inference.draining import Draining
from inference.engine import Engine, available_cores
from inference.engine.plan_cache import PlanCache
from inference.engine.tuner import Tuner, TuningMode
from inference.errors import NotFound, SettingsError
from inference.fetch import Fetcher, Poster
from inference.http.batches import BatchRoutes
from inference.http.deadletters import DeadLetterRoutes
from inference.http.messages import Handler
from inference.http.models import ModelRoutes
from inference.http.oip import OipRoutes
from inference.http.oip.infer import Limits
from inference.http.pages import PageRoutes
from inference.http.score import ScoreRoutes
from inference.http.status_pages import StatusRoutes
from inference.models.opening import CacheChoice, open_source
from inference.models.registry import ModelRegistry
from inference.models.repository import ModelVersion
from inference.models.runtime import choose_providers, name_runtime
from inference.models.session import ModelSession, load_ready_session
from inference.pinned import PinnedScorer
from inference.scorer import Scorer
from inference.settings import Settings
from inference.storage.azure import AzureStorage

_log = logging.getLogger("inference.services")

#: The app's own public names, which the fetcher must not be talked into calling (variables of the platform).
_OWN_HOST_VARIABLES = ("WEBSITE_HOSTNAME", "CONTAINER_APP_HOSTNAME")


@dataclass(slots=True)
class Services:
    """What `function_app.py` calls, by name of route and of queue, and what must be closed at the end."""

    routes: Mapping[str, Handler]
    deliveries: Mapping[str, Callable[[Delivery], Awaitable[None]]]
    draining: Draining
    status_routes: StatusRoutes
    registry: ModelRegistry
    storage: AzureStorage
    closers: list[Callable[[], Awaitable[None]]]

    async def prepare(self) -> None:
        """Begin to load the configured models, and make the queues and containers that are missing.

        In Azure they are there (infra/bicep); on a new machine a user's first message must find its queue.
        """
        self.status_routes.warm()
        queues = [*QueueName, *map(poison, WORK_QUEUES)]
        creations = [self.storage.queue(name).create() for name in queues]
        creations += [self.storage.blobs(name).create() for name in ContainerName]
        for failure in await asyncio.gather(*creations, return_exceptions=True):
            if isinstance(failure, BaseException):
                # Not an end: every writer makes what it misses, and storage may only be late.
                _log.warning("Storage is not ready: %s", failure, extra={"action": "storage_not_ready"})

    async def close(self) -> None:
        """Close connections and threads, the last opened first, even when the loop is ending meanwhile."""
        cancelled: asyncio.CancelledError | None = None
        for close in reversed(self.closers):
            try:
                await close()
            except asyncio.CancelledError as exc:
                cancelled = exc
                await close()
        if cancelled is not None:
            raise cancelled


def build(environ: Mapping[str, str]) -> Services:
    """Build everything from `environ`. Raises SettingsError that names every problem."""
    chosen = Settings.from_env(environ)
    for name in settings.unknown(environ):
        _log.warning("%s is not a setting of this app; is it misspelt?", name, extra={"action": "unknown_setting"})
    exporters.configure(environ, __version__)
    engine = Engine(chosen.engine.cores or available_cores(), chosen.engine.max_waiting)
    loader = ThreadPoolExecutor(max_workers=2, thread_name_prefix="models")
    served = (chosen.models.default_model, *chosen.models.warm_models)
    providers = choose_providers(chosen.engine.execution_providers)
    plans = PlanCache(chosen.engine.plan_cache, name_runtime(providers))
    tuner = Tuner(cast("TuningMode", chosen.engine.tuning), engine.cores, plans, engine.is_quiet)

    def load(version: ModelVersion) -> ModelSession:
        session = load_ready_session(version, score_scripts=chosen.models.score_scripts, providers=providers)
        tuner.offer(session)
        return session

    registry = _build_registry(chosen, loader, load, served)
    own_hosts = [environ[name] for name in _OWN_HOST_VARIABLES if environ.get(name)]
    fetcher = Fetcher(chosen.fetch, own_hosts=own_hosts)
    poster = Poster(chosen.fetch, chosen.callbacks.allow, own_hosts=own_hosts)
    score_with = partial(
        Scorer,
        registry,
        engine,
        default_model=chosen.models.default_model,
        image_limits=chosen.images,
        fetch_limits=chosen.fetch,
        fast_decode=chosen.engine.fast_decode,
    )
    scorer = score_with(fetcher)
    status_routes = StatusRoutes(registry, served, __version__)
    storage = AzureStorage.connect(chosen.storage)
    draining = Draining()
    account = Account(storage.blob_endpoint, storage.blobs)
    batch_scorer = score_with(AccountFetcher(fetcher, account, chosen.fetch.max_image_bytes))
    batches = _build_batches(storage, account, PinnedScorer(batch_scorer, engine), poster, draining, chosen)
    models, pages = ModelRoutes(registry), PageRoutes(__version__)
    limits = Limits(chosen.requests, chosen.images, chosen.fetch)
    oip = OipRoutes(
        registry, engine, limits, status_routes.ready, name=chosen.protocol.server_name, version=__version__
    )
    batch_routes, dead_letter_routes = BatchRoutes(batches, chosen.requests), DeadLetterRoutes(batches)
    routes: dict[str, Handler] = {
        "score": ScoreRoutes(scorer, engine, chosen.requests).score,
        "list_models": models.list,
        "show_model": models.show,
        "reload_model": models.reload,
        "submit_batch": batch_routes.submit,
        "list_batches": batch_routes.list,
        "batch_status": batch_routes.status,
        "batch_results": batch_routes.results,
        "cancel_batch": batch_routes.cancel,
        "list_dead_letters": dead_letter_routes.list,
        "export_dead_letters": dead_letter_routes.export,
        "replay_dead_letters": dead_letter_routes.replay,
        "purge_dead_letters": dead_letter_routes.purge,
        "health": status_routes.health,
        "ready": status_routes.ready,
        "version": status_routes.version,
        "openapi": pages.openapi,
        "docs": pages.docs,
        "ui": pages.ui,
        **oip.handlers(),
    }
    closers = [_closing(engine, loader, tuner), fetcher.close, poster.close, storage.close, registry.close]
    return Services(routes, batches.deliveries, draining, status_routes, registry, storage, closers)


def _build_registry(
    chosen: Settings, loader: ThreadPoolExecutor, load: Callable[[ModelVersion], ModelSession], served: tuple[str, ...]
) -> ModelRegistry:
    models = chosen.models
    try:
        return ModelRegistry(
            open_source(models.repository, chosen.storage, CacheChoice(models.cache, models.cache_bytes), loader),
            loader,
            load=load,
            pinned=served,
            memory_bytes=models.memory_bytes,
            poll_seconds=models.poll_seconds,
            retry_failed_after_seconds=models.failed_load_seconds,
        )
    except NotFound as exc:
        raise SettingsError([f"INFERENCE_DEFAULT_MODEL, INFERENCE_WARM_MODELS: {exc.message}"]) from exc


def _build_batches(
    storage: AzureStorage,
    account: Account,
    scorer: PinnedScorer,
    poster: Poster,
    draining: Draining,
    chosen: Settings,
) -> BatchService:
    stores = Stores(
        manifests=storage.blobs(ContainerName.MANIFESTS),
        results=storage.blobs(ContainerName.RESULTS),
        deadletters=storage.blobs(ContainerName.DEADLETTERS),
    )
    queues = Queues(
        manifests=storage.queue(QueueName.MANIFESTS),
        shards=storage.queue(QueueName.SHARDS),
        finish=storage.queue(QueueName.FINISH),
        events=storage.queue(QueueName.EVENTS),
    )
    return BatchService(
        stores,
        queues,
        scorer,
        chosen.batch,
        account=account,
        poster=poster,
        callbacks=chosen.callbacks,
        draining=draining,
    )


def _closing(engine: Engine, loader: ThreadPoolExecutor, tuner: Tuner) -> Callable[[], Awaitable[None]]:
    async def close() -> None:
        await asyncio.to_thread(tuner.close)
        engine.close()
        loader.shutdown(wait=False, cancel_futures=True)

    return close
