"""Builds what loads models, and says how everything else is built when it is asked for.

It refuses to import what nobody has asked for, and what a load needs before the model's files were read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from inference import __version__, exporters, settings
from inference.batch.layout import WORK_QUEUES, poison
from inference.draining import Draining, end_process
from inference.engine import Engine, available_cores
from inference.errors import NotFound, SettingsError
from inference.http.messages import Handler
from inference.http.models import ModelRoutes
from inference.http.status_pages import StatusRoutes
from inference.models.opening import CacheChoice, open_source
from inference.models.registry import ModelRegistry
from inference.services.later import Closable, Later, Routed, Surface, route_later
from inference.services.loading import ModelLoading
from inference.settings import Settings

if TYPE_CHECKING:
    from inference.batch.ports import Delivery
    from inference.fetch import Fetcher
    from inference.services.batches import BatchPart

_log = logging.getLogger("inference.services")

#: The app's own public names, which the fetcher must not be talked into calling (variables of the platform).
_OWN_HOST_VARIABLES = ("WEBSITE_HOSTNAME", "CONTAINER_APP_HOSTNAME")

#: What models, and the requests that wait for them, may take at the start before storage is opened beside them.
_MODELS_FIRST_SECONDS = 5.0

#: What closing one part may take: a session that is being made for a timing, say, cannot be interrupted, and neither
#: the other parts nor the end of the process wait for it.
_CLOSE_SECONDS = 5.0

#: More than loads that never end can take up before they are ended, as the registry begins them two by two.
_LOADER_THREADS = 32

_BATCH_ROUTES = (
    "submit_batch",
    "list_batches",
    "batch_status",
    "batch_results",
    "cancel_batch",
    "list_dead_letters",
    "export_dead_letters",
    "replay_dead_letters",
    "purge_dead_letters",
)
_PROTOCOL_ROUTES = (
    "oip_server",
    "oip_live",
    "oip_ready",
    "oip_model",
    "oip_model_ready",
    "oip_config",
    "oip_statistics",
    "oip_infer",
    "oip_index",
    "oip_load",
    "oip_unload",
    "oip_unsupported",
)
_PAGE_ROUTES = ("openapi", "docs", "ui")


class Services(Struct):
    """What `function_app.py` calls, by name of route and of queue, and what must be closed at the end."""

    routes: Mapping[str, Handler]
    deliveries: Mapping[str, Callable[[Delivery], Awaitable[None]]]
    draining: Draining
    status_routes: StatusRoutes
    registry: ModelRegistry
    scoring: Later[Surface]
    batches: Later[BatchPart]
    prepares_storage: bool
    closers: list[Callable[[], Awaitable[None]]]

    async def prepare(self) -> None:
        """Load the configured models, then, where wanted, open storage: a request that started the instance goes first.

        A model that is long in coming must not keep a user's first message from its queue.
        """
        loading = asyncio.ensure_future(self.status_routes.load())
        await self.scoring.get()
        if not self.prepares_storage:
            await loading
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_MODELS_FIRST_SECONDS):
                await asyncio.wait({loading})
                # What storage imports would take the interpreter from the request that has waited for the model.
                await self.draining.wait_until_idle()
        try:
            part = await self.batches.get()
        except SettingsError as exc:
            _log.error("The settings are wrong: %s", exc, extra={"action": "settings_error"})
        else:
            await part.prepare()
        await loading

    async def close(self) -> None:
        """Close connections and threads, the last opened first, even when the loop is ending meanwhile."""
        cancelled: asyncio.CancelledError | None = None
        for close in reversed(self.closers):
            try:
                await _close_in_time(close)
            except asyncio.CancelledError as exc:
                cancelled = exc
                await _close_in_time(close)
        if cancelled is not None:
            raise cancelled


async def _close_in_time(close: Callable[[], Awaitable[None]]) -> None:
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await close()
    except Exception:  # the others are closed all the same
        _log.exception("closing failed", extra={"action": "close_failed"})


def build(environ: Mapping[str, str]) -> Services:
    """Build everything from `environ`. Raises SettingsError that names every problem."""
    chosen = Settings.from_env(environ)
    for name in settings.unknown(environ):
        _log.warning("%s is not a setting of this app; is it misspelt?", name, extra={"action": "unknown_setting"})
    exporters.configure(environ, __version__)
    engine = Engine(chosen.engine.cores or available_cores(), chosen.engine.max_waiting, end_process)
    loader = ThreadPoolExecutor(max_workers=_LOADER_THREADS, thread_name_prefix="models")
    served = (chosen.models.default_model, *chosen.models.warm_models)
    loading = ModelLoading(chosen, engine)
    registry = _build_registry(chosen, loader, loading, served)
    own_hosts = [environ[name] for name in _OWN_HOST_VARIABLES if environ.get(name)]
    fetcher = Later(partial(_build_fetcher, chosen, own_hosts))
    late_fetcher = _LateFetcher(fetcher)
    status_routes, draining = StatusRoutes(registry, served, __version__), Draining()
    begin_models = partial(_begin_models, status_routes, loading)
    scoring = Later(partial(_build_scoring, chosen, registry, engine, late_fetcher), begin=begin_models)
    batches = Later(partial(_build_batches, chosen, registry, engine, late_fetcher, draining, own_hosts))
    models = ModelRoutes(registry, chosen.requests)
    routes: dict[str, Handler] = {
        "list_models": models.list,
        "show_model": models.show,
        "reload_model": models.reload,
        "health": status_routes.health,
        "ready": status_routes.ready,
        "version": status_routes.version,
        **_route_all(scoring, ("score",)),
        **_route_all(batches, _BATCH_ROUTES),
        **_route_all(Later(partial(_build_protocol, chosen, registry, engine, status_routes.ready)), _PROTOCOL_ROUTES),
        **_route_all(Later(_build_pages), _PAGE_ROUTES),
    }
    queues = [*WORK_QUEUES, *map(poison, WORK_QUEUES)]
    closers = [
        exporters.flush,
        _closing(engine, loader, loading),
        _closing_later(fetcher),
        _closing_later(batches),
        registry.close,
    ]
    deliveries = {queue: _deliver_later(batches, queue) for queue in queues}
    prepares = chosen.batch.prepare_storage
    return Services(routes, deliveries, draining, status_routes, registry, scoring, batches, prepares, closers)


class _LateFetcher:
    """The fetcher, built by the first url."""

    def __init__(self, fetcher: Later[Fetcher]) -> None:
        self._fetcher = fetcher

    async def fetch(self, url: str, *, deadline_seconds: float | None = None) -> bytes:
        return await (await self._fetcher.get()).fetch(url, deadline_seconds=deadline_seconds)


def _build_registry(
    chosen: Settings, loader: ThreadPoolExecutor, loading: ModelLoading, served: tuple[str, ...]
) -> ModelRegistry:
    models = chosen.models
    try:
        return ModelRegistry(
            open_source(models.repository, chosen.storage, CacheChoice(models.cache, models.cache_bytes), loader),
            loader,
            load=loading.load,
            pinned=served,
            memory_bytes=models.memory_bytes,
            poll_seconds=models.poll_seconds,
            retry_failed_after_seconds=models.failed_load_seconds,
        )
    except NotFound as exc:
        raise SettingsError([f"INFERENCE_DEFAULT_MODEL, INFERENCE_WARM_MODELS: {exc.message}"]) from exc


async def _begin_models(status_routes: StatusRoutes, loading: ModelLoading) -> None:
    """Begin to load the configured models, and wait until what they run on is imported.

    onnxruntime makes a session without the interpreter: what else scores is imported meanwhile.
    """
    status_routes.warm()
    await asyncio.to_thread(loading.start)


def _build_fetcher(chosen: Settings, own_hosts: list[str]) -> Fetcher:
    from inference.fetch import Fetcher

    return Fetcher(chosen.fetch, own_hosts=own_hosts)


def _build_scoring(chosen: Settings, registry: ModelRegistry, engine: Engine, fetcher: _LateFetcher) -> Surface:
    from inference.services.scoring import build_scoring

    return build_scoring(chosen, registry, engine, fetcher)


def _build_batches(
    chosen: Settings,
    registry: ModelRegistry,
    engine: Engine,
    fetcher: _LateFetcher,
    draining: Draining,
    own_hosts: list[str],
) -> BatchPart:
    from inference.services.batches import build_batches

    return build_batches(chosen, registry, engine, fetcher, draining, own_hosts)


def _build_protocol(chosen: Settings, registry: ModelRegistry, engine: Engine, is_ready: Handler) -> Surface:
    from inference.services.surfaces import build_protocol

    return build_protocol(chosen, registry, engine, is_ready)


def _build_pages() -> Surface:
    from inference.services.surfaces import build_pages

    return build_pages()


def _route_all[P: Routed](part: Later[P], names: Iterable[str]) -> dict[str, Handler]:
    return {name: route_later(part, name) for name in names}


def _deliver_later(batches: Later[BatchPart], queue: str) -> Callable[[Delivery], Awaitable[None]]:
    async def deliver(delivery: Delivery) -> None:
        await (await batches.get()).deliveries[queue](delivery)

    return deliver


def _closing(engine: Engine, loader: ThreadPoolExecutor, loading: ModelLoading) -> Callable[[], Awaitable[None]]:
    async def close() -> None:
        engine.close()
        loader.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(loading.close)

    return close


def _closing_later[P: Closable](part: Later[P]) -> Callable[[], Awaitable[None]]:
    async def close() -> None:
        built = await part.settled()
        if built is not None:
            await built.close()

    return close
