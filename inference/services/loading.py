"""How this process loads a version: verified, made a session of, and offered to the tuner.

It refuses to import onnxruntime before there are verified files to run: see `inference.models.verification`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, cast

from inference.engine import Engine
from inference.engine.plan_cache import PlanCache
from inference.engine.tuner import Tuner, TuningMode
from inference.errors import ShuttingDown
from inference.imports import importing
from inference.models.repository import ModelVersion
from inference.models.verification import verified
from inference.settings import Settings

if TYPE_CHECKING:
    from inference.models.session import ModelSession


class _Started(NamedTuple):
    """What the first load imports, finds out and makes."""

    load: Callable[..., ModelSession]
    providers: tuple[str, ...]
    tuner: Tuner


class ModelLoading:
    """Loads versions, on any thread; it owns the tuner."""

    def __init__(self, chosen: Settings, engine: Engine) -> None:
        self._chosen = chosen
        self._engine = engine
        #: Held while what loads is imported, and taken before the turn to import: who waits for it here must not wait
        #: for what is imported next.
        self._starting = threading.Lock()
        self._lock = threading.Lock()
        self._started: _Started | None = None
        self._is_closed = False

    def load(self, version: ModelVersion) -> ModelSession:
        """Return a session that may serve. Raises ModelUnavailable, ShuttingDown."""
        version = verified(version)
        started = self.start()
        scripts = self._chosen.models.score_scripts
        session = started.load(version, score_scripts=scripts, providers=started.providers)
        started.tuner.offer(session)
        return session

    def close(self) -> None:
        """End what is being timed."""
        with self._lock:
            self._is_closed = True
            if self._started is not None:
                self._started.tuner.close()

    def start(self) -> _Started:
        """Import and make what the first load needs, unless that is done. Raises ShuttingDown."""
        if self._started is not None:
            return self._started
        with self._starting:
            return self._started or self._start()

    def _start(self) -> _Started:
        with importing():
            from inference.models.loading import load_ready_session
            from inference.models.runtime import choose_providers, name_runtime

        wanted = self._chosen.engine
        providers = choose_providers(wanted.execution_providers)
        plans = PlanCache(wanted.plan_cache, name_runtime(providers))
        with self._lock:
            if self._is_closed:
                raise ShuttingDown
            tuner = Tuner(cast("TuningMode", wanted.tuning), self._engine.cores, plans, self._engine.is_quiet)
            self._started = _Started(load_ready_session, providers, tuner)
            return self._started
