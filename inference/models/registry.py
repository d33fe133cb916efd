"""The model registry: which session serves a name, kept in step with what the repository has published.

It refuses to let what is newly published touch what serves before it was loaded, warmed and checked.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from inference import telemetry
from inference.cancellation import shared
from inference.errors import InferenceError, ModelUnavailable, NotFound, ShuttingDown
from inference.models.catalog import SERVING_NAME, Catalog, PublishedModel, Release, parse_reference
from inference.models.repository import ModelVersion
from inference.models.route import Route, renewed
from inference.models.session_cache import RETRY_FAILED_AFTER_SECONDS, SessionCache, Slot, SlotsByVersion, State
from inference.models.source import ModelSource
from inference.models.watch import RepositoryWatch

if TYPE_CHECKING:
    from inference.models.session import ModelSession

__all__ = ["ModelRegistry", "ModelState", "State"]

_log = logging.getLogger("inference.models")

#: How old a look at the repository may be for names that are not known yet and for listings: it bounds what requests
#: for unknown models can cost.
FRESH_SECONDS = 1.0

#: Where the best version cannot be loaded by a new process, so many are tried in all.
_MAX_CANDIDATES = 3

#: How long a poll waits for one model to be brought up to date before it goes on to the next, while that goes on, too;
#: a warm-up that never ends is ended after as long.
PATIENCE_SECONDS = 60.0

#: NAME and VERSION, or None for the version that serves.
type _Key = tuple[str, str | None]


class ModelState(Struct, frozen=True):
    """What is known of one version of a model in this process."""

    name: str
    #: None when `serving.toml` is broken, so that no version can be named.
    version: str | None
    state: State
    #: Whether a request that names no version gets this one (but for the canary's share).
    is_default: bool
    #: Why it failed.
    reason: str | None = None
    session: ModelSession | None = None
    #: The share of the traffic that it takes as a canary.
    canary_share: float | None = None


class ModelRegistry:
    """Gives out warm sessions. It lives on one event loop; `executor`'s threads read the files and load the models."""

    def __init__(
        self,
        source: ModelSource,
        executor: Executor,
        *,
        load: Callable[[ModelVersion], ModelSession],
        pinned: Iterable[str] = (),
        memory_bytes: int = 1 << 40,
        poll_seconds: float = 0.0,
        retry_failed_after_seconds: float = RETRY_FAILED_AFTER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`pinned` models (`NAME[:VERSION]`) are never dropped for memory; `poll_seconds` 0 never looks by itself."""
        self._source = source
        self._sessions = SessionCache(
            source,
            executor,
            load=load,
            memory_bytes=memory_bytes,
            retry_failed_after_seconds=retry_failed_after_seconds,
            clock=clock,
        )
        self._pinned = {parse_reference(reference) for reference in pinned}
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._poll_at = clock() + poll_seconds if poll_seconds else float("inf")
        self._routes: dict[_Key, Route] = {}
        #: Routes that updates under way are making: what they load is needed, too.
        self._coming: dict[_Key, Route] = {}
        self._unloaded: set[str] = set()
        #: How often each model was unloaded: an update that began before brings nothing back.
        self._unloads: Counter[str] = Counter()
        self._updates: dict[_Key, asyncio.Task[ModelSession | InferenceError]] = {}
        self._reloads: set[asyncio.Task[None]] = set()
        self._watch = RepositoryWatch(source, clock)
        self._polling: asyncio.Task[None] | None = None
        self._is_closed = False
        #: Why the last look at the repository failed.
        self._problem: str | None = None

    async def get(self, name: str, version: str | None = None, *, sticky_key: str | None = None) -> ModelSession:
        """Return a warm session, loading it first where need be; callers that come meanwhile wait for the same load.

        Equal `sticky_key`s get the same choice between the version that serves and its canary; None never gets the
        canary. For a ready model this reads no file and waits for nothing.

        Raises ModelNotFound, ModelVersionNotFound, and ModelUnavailable with `retry_after_seconds` for a failed load;
        what storage raises when nothing was loaded before it failed; ShuttingDown for a load that `close` gave up.
        """
        now = self._clock()
        if now >= self._poll_at:
            self._poll_soon(now)
        route = self._routes.get((name, version))
        if route is not None and (session := route.choose(sticky_key, now)) is not None:
            return session
        return await self._open((name, version))

    async def poll(self) -> None:
        """Look for what was published, unless that was done less than the poll interval ago.

        It never raises: what fails is in `problem`, in `states` and in a metric, and what served goes on serving.
        """
        now = self._clock()
        if now >= self._poll_at:
            self._poll_soon(now)
        if self._polling is not None:
            with suppress(ShuttingDown):
                await shared(self._polling)

    async def reload(self, name: str | None = None) -> None:
        """Look for what was published now, and bring one model, or all that are loaded, up to date.

        Failures are forgotten. A caller that leaves does not end it.

        Raises ModelNotFound; ModelUnavailable when what should serve cannot be loaded (what served before then goes on
        serving); what storage raises; ShuttingDown.
        """
        self._check_open()
        reloading = asyncio.get_running_loop().create_task(self._reload(name))
        self._reloads.add(reloading)
        reloading.add_done_callback(self._end_reload)
        await shared(reloading)

    def _end_reload(self, reloading: asyncio.Task[None]) -> None:
        self._reloads.discard(reloading)
        if not reloading.cancelled():
            reloading.exception()  # who asked may have left; why a load failed is in the states

    async def _reload(self, name: str | None) -> None:
        self._sessions.forgive(name)
        await self._watch.look()
        keys = [key for key in self._routes if name in (None, key[0])]
        if name is not None and (name, None) not in keys:
            keys.append((name, None))
        for key in keys:
            while key in self._updates:  # it may have begun with an older look
                await asyncio.wait({self._updates[key]})
            outcome = await self._update_once(key)
            if name is not None and key == (name, None):
                _raise_failed(outcome, self._routes.get(key))

    async def unload(self, name: str) -> None:
        """Give up a model's sessions: runs under way end as they would, the next request loads it again.

        Raises ModelNotFound; what the look at the repository raises.
        """
        (await self._watch.look(max_age_seconds=FRESH_SECONDS)).find(name)
        for key in [key for key in self._routes if key[0] == name]:
            self._replace(key, None)
        self._unloads[name] += 1
        self._unloaded.add(name)

    def is_unloaded(self, name: str) -> bool:
        """Tell whether a model was unloaded and no one asked for it since; one dropped for memory was not."""
        return name in self._unloaded

    def problem(self, name: str, version: str | None = None) -> str | None:
        """Return why the version that should serve does not, though another may; None when all is as it should be."""
        route = self._routes.get((name, version))
        return (route.whole_problem if route is not None else None) or self._problem

    async def states(self) -> list[ModelState]:
        """Return the state of every published version. Raises what the first look at the repository raised."""
        try:
            catalog = await self._watch.look(max_age_seconds=FRESH_SECONDS)
        except InferenceError:
            if self._watch.last is None:
                raise
            catalog = self._watch.last  # what serves can be told without the repository
        slots = self._sessions.by_version()
        return [state for model in catalog.models.values() for state in self._model_states(model, slots)]

    async def close(self) -> None:
        """Give up polls and loads."""
        self._is_closed = True
        tasks: list[asyncio.Task[Any]] = [*self._reloads, *self._updates.values()]
        if self._polling is not None:
            tasks.append(self._polling)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._watch.close()
        await self._sessions.close()
        await self._source.close()

    async def _open(self, key: _Key) -> ModelSession:
        if (failure := self._remembered_failure(key)) is not None:
            raise failure
        outcome = await self._update_once(key)
        if isinstance(outcome, InferenceError):
            raise self._remembered_failure(key) or renewed(outcome)
        return outcome

    def _remembered_failure(self, key: _Key) -> InferenceError | None:
        route = self._routes.get(key)
        if route is None or not self._is_still_best(key, route.failed):
            return None
        return route.remembered_failure(self._clock())

    def _is_still_best(self, key: _Key, failed: list[Slot]) -> bool:
        """Tell whether what failed is still what should serve: a version published since then need not wait for it."""
        if self._watch.last is None:
            return True
        name, version = key
        try:
            published = self._watch.last.find(name)
            candidates = [published.release(version)] if version is not None else published.candidates()
        except InferenceError:
            return False  # an update says what is wrong now
        return candidates[: len(failed)] == [slot.release for slot in failed]

    async def _update_once(self, key: _Key) -> ModelSession | InferenceError:
        self._check_open()
        task = self._updates.get(key)
        if task is None:
            task = self._updates[key] = asyncio.get_running_loop().create_task(self._update(key))
            task.add_done_callback(lambda _: self._updates.pop(key, None))
        return await shared(task)

    async def _update(self, key: _Key) -> ModelSession | InferenceError:
        """Bring one route to what is published; what it has goes on serving until something better is ready."""
        name, version = key
        old, unloads = self._routes.get(key) or Route(), self._unloads[name]
        try:
            published = (await self._watch.look(max_age_seconds=FRESH_SECONDS)).find(name)
            candidates = [published.release(version)] if version is not None else published.candidates()
        except NotFound as exc:
            self._replace(key, None)
            return exc
        except InferenceError as exc:
            old.problem = exc.message
            return old.session or exc
        route = self._coming[key] = Route()
        try:
            session = await self._load_best(candidates, old, route, is_pinned=key in self._pinned)
        finally:
            del self._coming[key]
        error = route.failed[0].error if route.failed else None
        route.problem = error.message if error is not None else None
        if self._unloads[name] == unloads:
            self._add_canary(route, published, key)
            self._replace(key, route)
            self._unloaded.discard(name)
        else:  # unloaded meanwhile: who waited is served, and nothing is kept
            self._forget_unneeded(route.slots())
        return session or error or ModelUnavailable(f"{name}: it cannot be loaded.")

    async def _load_best(
        self, candidates: list[Release], old: Route, route: Route, *, is_pinned: bool
    ) -> ModelSession | None:
        """Have `route` lead to the best candidate that can serve, else to what serves already; return its session.

        The route notes which could not.
        """
        for release in candidates[:_MAX_CANDIDATES]:
            if old.stable is not None and old.stable.release == release and old.session is not None:
                break
            slot = route.stable = self._sessions.open(release, is_pinned=is_pinned)
            session = await self._sessions.wait(slot)
            if session is not None:
                return session
            route.failed.append(slot)
            if not isinstance(slot.error, ModelUnavailable):
                break  # storage failed, not the version: an older one would be no remedy
        route.stable = old.stable if old.session is not None else None
        return old.session

    def _add_canary(self, route: Route, published: PublishedModel, key: _Key) -> None:
        """Begin to load the canary; it takes its share once it is ready, and no request waits for it."""
        wanted = published.serving.canary
        if key[1] is not None or wanted is None or route.stable is None or str(wanted.version) == _version(route):
            return
        canary = published.canary()
        if canary is None:
            name = published.name
            route.canary_problem = f"{name}: the canary of {SERVING_NAME}, version {wanted.version}, is not published."
            return
        route.canary = self._sessions.open(canary, is_pinned=key in self._pinned)
        route.share = wanted.share

    def _replace(self, key: _Key, route: Route | None) -> None:
        """Let `route` serve the key, or nothing, and drop the sessions that no route needs any more."""
        old = self._routes.pop(key, None)
        if route is not None:
            self._routes[key] = route
            self._sessions.keep(route.slots())
        if old is not None and (given_up := {*old.slots()} - {*(route.slots() if route is not None else ())}):
            self._forget_unneeded(given_up)
        pinned = [self._routes[kept] for kept in self._pinned if kept in self._routes]
        self._sessions.pin({slot for kept in pinned for slot in kept.slots()})

    def _forget_unneeded(self, slots: Iterable[Slot]) -> None:
        """Drop the sessions that a route gives up, but those that others need."""
        needed = {slot for kept in (*self._routes.values(), *self._coming.values()) for slot in kept.slots()}
        self._sessions.forget([slot for slot in slots if slot not in needed])

    def _check_open(self) -> None:
        if self._is_closed:
            raise ShuttingDown

    def _poll_soon(self, now: float) -> None:
        self._poll_at = now + self._poll_seconds
        if self._polling is None or self._polling.done():
            self._polling = asyncio.get_running_loop().create_task(self._refresh())

    async def _refresh(self) -> None:
        try:
            catalog = await self._watch.look()
        except InferenceError as exc:
            self._problem = f"the model repository: {exc.message}"
            telemetry.count_model_poll(exc.code)
            extra = {"action": "model_poll_failed", "reason": exc.message}
            _log.warning("model repository not read: %s", exc.message, extra=extra)
            return
        self._problem = None
        self._forget_removed(catalog)
        for key in [*self._routes]:
            route = self._routes.get(key)
            if key in self._pinned or (route is not None and route.session is not None):
                with suppress(TimeoutError):
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        await self._update_once(key)
        telemetry.count_model_poll("ok")

    def _forget_removed(self, catalog: Catalog) -> None:
        """Forget routes that have no session to bring up to date, and never will: their version was removed.

        It had failed, or was dropped for memory; nobody asks for it any more, and a process lives for months.
        """
        for key in [key for key, route in self._routes.items() if route.session is None and key not in self._updates]:
            name, version = key
            try:
                published = catalog.find(name)
                if version is not None:
                    published.release(version)
            except NotFound:
                self._replace(key, None)
            except InferenceError:
                continue  # who cannot read what is published knows of nothing that is gone

    def _model_states(self, model: PublishedModel, slots: SlotsByVersion) -> list[ModelState]:
        route = self._routes.get((model.name, None))
        serving = route.session.version.version if route is not None and route.session is not None else None
        default = serving or (None if model.problem else model.candidates()[0].version)
        versions = sorted({*model.releases, *([serving] if serving is not None else [])}, key=int)
        states = [
            self._state(model, version, slots.get((model.name, version), ()), is_default=version == default)
            for version in versions
        ]
        if model.problem is not None:
            states.append(ModelState(model.name, None, "failed", is_default=default is None, reason=model.problem))
        return states

    def _state(self, model: PublishedModel, version: str, slots: Sequence[Slot], *, is_default: bool) -> ModelState:
        # A version that was published again under its number has two; while the newer one failed, the older one serves.
        slot = next((slot for slot in slots if slot.session is not None), slots[-1] if slots else None)
        return ModelState(
            model.name,
            version,
            slot.state if slot is not None else "unloaded",
            is_default,
            next((other.error.message for other in reversed(slots) if other.error is not None), None),
            slot.session if slot is not None else None,
            None if is_default else self._canary_share(model, version),
        )

    def _canary_share(self, model: PublishedModel, version: str) -> float | None:
        if model.problem is not None:  # the canary goes on as well as what serves
            route = self._routes.get((model.name, None))
            is_canary = route is not None and route.canary is not None and route.canary.release.version == version
            return route.share if route is not None and is_canary else None
        canary = model.serving.canary
        return canary.share if canary is not None and str(canary.version) == version else None


def _version(route: Route) -> str | None:
    return route.stable.release.version if route.stable is not None else None


def _raise_failed(outcome: ModelSession | InferenceError, route: Route | None) -> None:
    if isinstance(outcome, InferenceError):
        raise renewed(outcome)
    if route is not None and route.problem is not None:
        raise ModelUnavailable(f"{route.problem} Version {outcome.version.version} goes on serving.")
