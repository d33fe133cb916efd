"""The sessions of this process, bounded by memory: one load a release, the least recently used dropped first.

It refuses to choose what serves, to drop what is pinned, and to try a release that has just failed before a while has
passed. It lives on one event loop; `executor`'s threads load.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from inference import telemetry
from inference.cancellation import shared
from inference.errors import InferenceError, ModelUnavailable
from inference.models.catalog import Release
from inference.models.repository import ModelVersion
from inference.models.source import LocalVersion, ModelSource

if TYPE_CHECKING:
    from inference.models.session import ModelSession

_log = logging.getLogger("inference.models")

#: Long enough that a broken model costs next to nothing, short enough that a repaired one is noticed soon.
RETRY_FAILED_AFTER_SECONDS = 30.0

#: Each further failure of a release doubles the wait up to this: most stay broken until they are published again.
MAX_RETRY_SECONDS = 600.0

#: Loads compute, as requests do on the same cores.
LOADS_AT_ONCE = 2

#: What takes longer gives its turn away, and goes on: a warm-up that never ends is ended after a minute only.
TURN_SECONDS = 5.0

#: How long a load waits for others whose memory it needs; a warm-up that never ends is ended after as long.
ROOM_SECONDS = 60.0

#: A session's memory is reckoned as FACTOR times its files and BASE: resident growth of one load and one run, measured
#: with onnxruntime 1.31, was 10, 20, 29, 35 and 52 MiB for files of 0.03, 1.2, 3.6, 4.8 and 13.6 MiB.
MEMORY_FACTOR = 3
MEMORY_BASE_BYTES = 16 << 20

#: The same for a plan's lane for lone runs, whose weights are shared: 13 MiB for the file of 13.6 MiB.
IDLE_LANE_FACTOR = 1

type State = Literal["unloaded", "loading", "ready", "failed"]


class Slot(Struct, eq=False):
    """One release's place: loading, then ready or failed; empty again once it was dropped."""

    release: Release
    loading: asyncio.Task[ModelSession | None] | None = None
    session: ModelSession | None = None
    error: InferenceError | None = None
    failures: int = 0
    #: When to try again after a failure, on the registry's clock.
    retry_at: float = 0.0
    used_at: float = 0.0
    #: Bytes of its files from the moment its load begins; None while it takes no memory.
    file_bytes: int | None = None
    is_pinned: bool = False

    @property
    def memory_bytes(self) -> int:
        """What is reckoned for it."""
        if self.file_bytes is None:
            return 0
        has_idle_lane = self.session is not None and self.session.has_idle_lane
        return reckon_memory(self.file_bytes, has_idle_lane=has_idle_lane)

    @property
    def state(self) -> State:
        """What to tell a person."""
        if self.session is not None:
            return "ready"
        if self.loading is not None:
            return "loading"
        return "unloaded" if self.error is None else "failed"


#: Slots by name and version, of each the newest release last.
type SlotsByVersion = Mapping[tuple[str, str], Sequence[Slot]]


def reckon_memory(file_bytes: int, *, has_idle_lane: bool = False) -> int:
    """Return the bytes of memory that a session of files of so many bytes is reckoned to take."""
    return MEMORY_BASE_BYTES + (MEMORY_FACTOR + (IDLE_LANE_FACTOR if has_idle_lane else 0)) * file_bytes


class SessionCache:
    """Slots by release."""

    def __init__(
        self,
        source: ModelSource,
        executor: Executor,
        *,
        load: Callable[[ModelVersion], ModelSession],
        memory_bytes: int,
        retry_failed_after_seconds: float = RETRY_FAILED_AFTER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._executor = executor
        self._load_session = load
        self._memory_bytes = memory_bytes
        self._retry_failed_after_seconds = retry_failed_after_seconds
        self._clock = clock
        self._slots: dict[Release, Slot] = {}
        self._turns = asyncio.Semaphore(LOADS_AT_ONCE)

    def open(self, release: Release, *, is_pinned: bool = False) -> Slot:
        """Return the release's slot, loading or ready; failed while the failure is remembered."""
        slot = self._slots.get(release)
        if slot is None:
            slot = self._slots[release] = Slot(release)
        slot.is_pinned = slot.is_pinned or is_pinned
        if slot.session is None and slot.loading is None and self._clock() >= slot.retry_at:
            slot.loading = asyncio.get_running_loop().create_task(self._load(slot))
        return slot

    async def wait(self, slot: Slot) -> ModelSession | None:
        """Return a slot's session once it is loaded, None if it failed; all who wait for it wait for the same load.

        Another load may have dropped the session from its slot by then: who waited for it is served all the same.
        """
        return slot.session if slot.loading is None else await shared(slot.loading)

    def find(self, name: str, version: str) -> Iterator[Slot]:
        """Yield the slots of a version, the newest release last."""
        return (
            slot for slot in [*self._slots.values()] if (slot.release.name, slot.release.version) == (name, version)
        )

    def by_version(self) -> SlotsByVersion:
        """Return all slots as `find` gives those of one version: who asks for each of thousands looks once."""
        found: defaultdict[tuple[str, str], list[Slot]] = defaultdict(list)
        for slot in self._slots.values():
            found[slot.release.name, slot.release.version].append(slot)
        return found

    def forget(self, slots: Collection[Slot]) -> None:
        """Drop slots; runs under way keep their session until they end."""
        for slot in slots:
            if self._slots.get(slot.release) is slot:
                del self._slots[slot.release]

    def keep(self, slots: Collection[Slot]) -> None:
        """Count slots that were forgotten while somebody waited for their load."""
        for slot in slots:
            self._slots.setdefault(slot.release, slot)

    def forgive(self, name: str | None) -> None:
        """Let failed releases of a model (of all, for None) be tried again at once."""
        for slot in self._slots.values():
            if name in (None, slot.release.name):
                slot.retry_at = 0.0

    def pin(self, pinned: Collection[Slot]) -> None:
        """Pin these slots and no other."""
        for slot in self._slots.values():
            # A load under way for a pinned model has no route yet.
            slot.is_pinned = slot in pinned or (slot.is_pinned and slot.loading is not None)

    async def close(self) -> None:
        """Give up loads; what their threads do is finished first by the executor's owner."""
        tasks = [slot.loading for slot in self._slots.values() if slot.loading is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._slots.clear()

    async def _load(self, slot: Slot) -> ModelSession | None:
        outcome = "cancelled"
        try:
            slot.session = await self._load_from(await self._source.fetch(slot.release), slot)
            slot.error, slot.failures = None, 0
            slot.used_at, outcome = self._clock(), "ok"
        except InferenceError as exc:
            slot.error, outcome = exc, exc.code
        except Exception:
            _log.exception("model load failed", extra={"action": "model_load_failed", "model": str(slot.release)})
            slot.error, outcome = ModelUnavailable(f"{slot.release}: it cannot be loaded."), "internal_error"
        finally:
            slot.loading = None
            if slot.session is None:
                self._note_failure(slot)
            telemetry.count_model_load(slot.release.name, slot.release.version, outcome)
        return slot.session

    async def _load_from(self, local: LocalVersion, slot: Slot) -> ModelSession:
        try:
            if (twin := self._twin(slot, local.version)) is not None:
                local.release()
                return twin
            await self._make_room(slot, local.bytes)
            session = await self._load_in_turn(local.version)
        except BaseException:
            local.release()
            raise
        # The files are needed as long as anybody holds the session, in this cache or not.
        weakref.finalize(session, local.release).atexit = False
        return session

    async def _load_in_turn(self, version: ModelVersion) -> ModelSession:
        """Load, LOADS_AT_ONCE at a time; not counting those that take long, which must not hold up other models."""
        loop = asyncio.get_running_loop()
        await self._turns.acquire()
        with ExitStack() as turn:
            turn.callback(self._turns.release)
            timer = loop.call_later(TURN_SECONDS, turn.close)
            turn.callback(timer.cancel)
            return await loop.run_in_executor(self._executor, self._load_session, version)

    def _twin(self, slot: Slot, version: ModelVersion) -> ModelSession | None:
        """Return the session of an equal release: only its manifest was written again, byte for byte the same."""
        for other in self.find(version.name, version.version):
            if other.session is not None and other.session.version.manifest_sha256 == version.manifest_sha256:
                slot.file_bytes, other.file_bytes = other.file_bytes, None
                return other.session
        return None

    async def _make_room(self, slot: Slot, file_bytes: int) -> None:
        """Reckon a session of files of so many bytes for the slot, dropping idle ones where that is too much.

        Raises ModelUnavailable when that does not suffice, unless the slot is pinned: what is configured is served.
        """
        needed = reckon_memory(file_bytes)
        deadline = self._clock() + ROOM_SECONDS
        while not slot.is_pinned and self._excess(needed) > _sum_memory(self._idle()):
            # What loads takes memory that can be had as soon as it is ready.
            loads = [other for other in self._slots.values() if other.loading is not None and not other.is_pinned]
            patience = deadline - self._clock()
            if self._excess(needed) > _sum_memory(self._idle()) + _sum_memory(loads) or patience <= 0:
                raise ModelUnavailable(
                    f"{slot.release}: it needs about {needed >> 20} MiB of memory, which are not free."
                )
            under_way = [other.loading for other in loads if other.loading is not None and other.memory_bytes]
            await asyncio.wait(under_way, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        idle = sorted(self._idle(), key=lambda other: other.used_at, reverse=True)
        excess = self._excess(needed)
        while excess > 0 and idle:
            other = idle.pop()
            excess -= other.memory_bytes
            other.session, other.file_bytes = None, None
            _log.info("model dropped", extra={"action": "model_dropped", "model": str(other.release)})
        slot.file_bytes = file_bytes

    def _excess(self, needed: int) -> int:
        """Return by how many bytes so many more are more than sessions may take."""
        return needed + _sum_memory(self._slots.values()) - self._memory_bytes

    def _idle(self) -> list[Slot]:
        """Return what may be dropped."""
        return [slot for slot in self._slots.values() if slot.session is not None and not slot.is_pinned]

    def _note_failure(self, slot: Slot) -> None:
        slot.file_bytes = None
        wait = min(self._retry_failed_after_seconds * 2**slot.failures, MAX_RETRY_SECONDS)
        slot.failures = min(slot.failures + 1, 16)
        slot.retry_at = self._clock() + max(wait, 0.0)
        if slot.error is not None:
            reason = slot.error.message
            extra = {"action": "model_load_failed", "model": str(slot.release), "reason": reason}
            why = reason.removeprefix(f"{slot.release}: ")
            _log.warning("model %s not loaded: %s", slot.release, why, extra=extra)


def _sum_memory(slots: Iterable[Slot]) -> int:
    return sum(slot.memory_bytes for slot in slots)
