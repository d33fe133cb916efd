"""The model registry: the sessions of this process, each loaded and warmed once, when first asked for.

It refuses to load twice at once, and to try a version that has just failed again before a while has passed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Literal

from inference.errors import InferenceError, ModelNotFound, ModelUnavailable
from inference.models.repository import ModelRepository, ModelVersion
from inference.models.session import ModelSession, load_session

logger = logging.getLogger(__name__)

#: Long enough that a broken model costs next to nothing, short enough that a repaired one is noticed soon.
RETRY_FAILED_AFTER_SECONDS = 30.0

type State = Literal["unloaded", "loading", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class ModelState:
    """What is known of one version of a model in this process."""

    name: str
    #: None when `serving.toml` is broken, so that no version can be named.
    version: str | None
    state: State
    #: Whether a request that names no version gets this one.
    is_default: bool
    #: Why it failed.
    reason: str | None = None
    session: ModelSession | None = None


@dataclass(slots=True)
class _Slot:
    """One version's place: first loading, then either ready or failed."""

    loading: asyncio.Task[None] | None = None
    session: ModelSession | None = None
    error: ModelUnavailable | None = None
    #: When to try again after a failure, on the registry's clock.
    retry_at: float = field(default=float("inf"))


class ModelRegistry:
    """Gives out warm sessions. It lives on one event loop; `executor`'s threads read the files and load the models."""

    def __init__(
        self,
        repository: ModelRepository,
        executor: Executor,
        *,
        load: Callable[[ModelVersion], ModelSession] = load_session,
        retry_failed_after_seconds: float = RETRY_FAILED_AFTER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._repository = repository
        self._executor = executor
        self._load_session = load
        self._retry_failed_after_seconds = retry_failed_after_seconds
        self._clock = clock
        #: What (name, version or None) means, so that a request for a ready model reads no file.
        self._resolved: dict[tuple[str, str | None], ModelVersion] = {}
        self._slots: dict[ModelVersion, _Slot] = {}

    async def get(self, name: str, version: str | None = None) -> ModelSession:
        """Return a warm session, loading it first where need be; callers that come meanwhile wait for the same load.

        Raises ModelNotFound, ModelVersionNotFound, and ModelUnavailable with `retry_after_seconds` for a failed load.
        """
        resolved = self._resolved.get((name, version))
        slot = self._slots.get(resolved) if resolved is not None else None
        if slot is None or self._is_stale(slot):
            slot = await self._open(name, version)
        if slot.loading is not None:
            # A caller that leaves must not end the load for the others.
            await asyncio.shield(slot.loading)
        if slot.session is None:
            raise self._remembered(slot)
        return slot.session

    async def load_all(self, names: Iterable[str]) -> None:
        """Load the default versions of these models, one after the other; `states` tells how it went."""
        for name in names:
            try:
                await self.get(name)
            except InferenceError as exc:
                logger.warning("model not ready", extra={"action": "model_load_failed", "reason": exc.message})

    async def states(self) -> list[ModelState]:
        """Return the state of every published version. Raises ModelUnavailable when the repository cannot be read."""
        published = await self._on_thread(self._list_published)
        return [state for name, versions, default in published for state in self._model_states(name, versions, default)]

    def reload(self) -> None:
        """Forget what was resolved and what failed, so that the next call sees what is published then.

        Sessions of versions that still serve are kept.
        """
        self._resolved.clear()
        self._slots = {version: slot for version, slot in self._slots.items() if slot.error is None}

    async def _open(self, name: str, version: str | None) -> _Slot:
        reference = name if version is None else f"{name}:{version}"
        resolved = await self._on_thread(lambda: self._repository.resolve(reference))
        self._resolved[name, version] = resolved
        slot = self._slots.get(resolved)
        # From here to the end nothing awaits, so that two callers cannot both start a load.
        if slot is None or self._is_stale(slot):
            slot = self._slots[resolved] = _Slot()
            slot.loading = asyncio.get_running_loop().create_task(self._load(resolved, slot))
        return slot

    async def _load(self, version: ModelVersion, slot: _Slot) -> None:
        try:
            slot.session = await self._on_thread(lambda: self._load_warm(version))
        except ModelUnavailable as exc:
            slot.error = exc
        except Exception:
            logger.exception("model load failed", extra={"action": "model_load_failed", "model": str(version)})
            slot.error = ModelUnavailable(f"{version}: it cannot be loaded.")
        finally:
            slot.loading = None
            if slot.session is None:
                slot.retry_at = self._clock() + self._retry_failed_after_seconds

    def _load_warm(self, version: ModelVersion) -> ModelSession:
        session = self._load_session(version)
        session.warm()
        return session

    def _is_stale(self, slot: _Slot) -> bool:
        if slot.loading is not None or slot.session is not None:
            return False
        return slot.error is None or self._clock() >= slot.retry_at

    def _remembered(self, slot: _Slot) -> ModelUnavailable:
        message = slot.error.message if slot.error is not None else None
        # A new one for each caller: raised twice, an exception's traceback would grow.
        return ModelUnavailable(message, retry_after_seconds=max(0.0, slot.retry_at - self._clock()))

    def _list_published(self) -> list[tuple[str, list[str], str | ModelUnavailable]]:
        published: list[tuple[str, list[str], str | ModelUnavailable]] = []
        for name in self._repository.names():
            versions: list[str] = []
            try:
                versions = self._repository.versions(name)
                published.append((name, versions, self._repository.resolve(name).version))
            except ModelUnavailable as exc:
                published.append((name, versions, exc))
            except ModelNotFound:
                continue  # removed since it was listed
        return published

    def _model_states(self, name: str, versions: list[str], default: str | ModelUnavailable) -> list[ModelState]:
        served = self._resolved.get((name, None))
        if served is not None:
            default = served.version
        states = [self._state(name, version, is_default=version == default) for version in versions]
        if isinstance(default, ModelUnavailable):
            states.append(ModelState(name, None, "failed", is_default=True, reason=default.message))
        return states

    def _state(self, name: str, version: str, *, is_default: bool) -> ModelState:
        # A version that was published again under its number has two slots; the newer one is later in the dict.
        slots = [slot for key, slot in self._slots.items() if (key.name, key.version) == (name, version)]
        if not slots:
            return ModelState(name, version, "unloaded", is_default)
        slot = slots[-1]
        if slot.session is not None:
            return ModelState(name, version, "ready", is_default, session=slot.session)
        if slot.loading is not None:
            return ModelState(name, version, "loading", is_default)
        return ModelState(name, version, "failed", is_default, reason=slot.error.message if slot.error else None)

    async def _on_thread[T](self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)
