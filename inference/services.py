"""The composition root: every part of the product, built from settings and joined; nothing else constructs them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from inference import __version__, exporters, settings
from inference.engine import Engine, available_cores
from inference.fetch import Fetcher
from inference.http.messages import Handler
from inference.http.models import ModelRoutes
from inference.http.pages import PageRoutes
from inference.http.score import ScoreRoutes
from inference.http.status_pages import StatusRoutes
from inference.models.registry import ModelRegistry
from inference.models.repository import ModelRepository
from inference.scorer import Scorer
from inference.settings import Settings

_log = logging.getLogger("inference.services")

#: The app's own public names, which the fetcher must not be talked into calling (variables of the platform).
_OWN_HOST_VARIABLES = ("WEBSITE_HOSTNAME", "CONTAINER_APP_HOSTNAME")


@dataclass(slots=True)
class Services:
    """What `function_app.py` calls, by name of route and of queue, and what must be closed at the end."""

    routes: Mapping[str, Handler]
    status_routes: StatusRoutes
    closers: list[Callable[[], Awaitable[None]]]

    async def close(self) -> None:
        """Close connections and threads, the last opened first."""
        for close in reversed(self.closers):
            await close()


def build(environ: Mapping[str, str]) -> Services:
    """Build everything from `environ`. Raises SettingsError that names every problem."""
    chosen = Settings.from_env(environ)
    for name in settings.unknown(environ):
        _log.warning("%s is not a setting of this app; is it misspelt?", name, extra={"action": "unknown_setting"})
    exporters.configure(environ, __version__)
    engine = Engine(chosen.engine.cores or available_cores(), chosen.engine.max_waiting)
    loader = ThreadPoolExecutor(max_workers=2, thread_name_prefix="models")
    registry = ModelRegistry(
        ModelRepository(Path(chosen.models.repository)),
        loader,
        retry_failed_after_seconds=chosen.models.failed_load_seconds,
    )
    own_hosts = [environ[name] for name in _OWN_HOST_VARIABLES if environ.get(name)]
    fetcher = Fetcher(chosen.fetch, own_hosts=own_hosts)
    scorer = Scorer(
        registry,
        engine,
        fetcher,
        default_model=chosen.models.default_model,
        image_limits=chosen.images,
        fetch_limits=chosen.fetch,
    )
    status_routes = StatusRoutes(registry, (chosen.models.default_model, *chosen.models.warm_models), __version__)
    models, pages = ModelRoutes(registry), PageRoutes(__version__)
    routes: dict[str, Handler] = {
        "score": ScoreRoutes(scorer, engine, chosen.requests).score,
        "list_models": models.list,
        "show_model": models.show,
        "health": status_routes.health,
        "ready": status_routes.ready,
        "version": status_routes.version,
        "openapi": pages.openapi,
        "docs": pages.docs,
        "ui": pages.ui,
    }
    return Services(routes, status_routes, [_closing(engine, loader), fetcher.close])


def _closing(engine: Engine, loader: ThreadPoolExecutor) -> Callable[[], Awaitable[None]]:
    async def close() -> None:
        engine.close()
        loader.shutdown(wait=False, cancel_futures=True)

    return close
