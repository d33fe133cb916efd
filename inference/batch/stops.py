"""Owns the markers that end a batch early: items up to the marker's round end as failed instead of being scored.

It refuses to touch rows: whoever holds a shard reads the marker and closes what is open.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from weakref import WeakValueDictionary

from msgspec import Struct

from inference.batch import layout
from inference.batch.retry import RowError, describe
from inference.batch.rows import Row
from inference.errors import BatchCancelled, ErrorThresholdExceeded, InferenceError
from inference.storage import ABSENT, BlobStore, PreconditionFailed

_REASONS: dict[str, type[InferenceError]] = {kind.code: kind for kind in (BatchCancelled, ErrorThresholdExceeded)}
#: How long one look is good for: a cancel takes effect within one item or one second, whichever is longer.
_LOOK_SECONDS = 1.0


class Stop(Struct, frozen=True):
    """The latest round that ends early, and why."""

    round: int
    error: RowError

    def ends(self, row: Row) -> bool:
        """Tell whether this row must not be scored any more."""
        return row.is_pending and row.round <= self.round


class Stops:
    """The stop markers in the container `manifests`."""

    def __init__(self, manifests: BlobStore) -> None:
        self._manifests = manifests

    async def read(self, batch_id: str) -> Stop | None:
        """Return the marker of the latest round, or None; one listing."""
        latest = None
        async for properties in self._manifests.list(layout.stops(batch_id)):
            kind = _REASONS[properties.metadata["reason"]]
            latest = Stop(layout.number_of(properties.name), describe(kind()))
        return latest

    async def forget(self, batch_id: str) -> None:
        """Take back the marker of a manifest that never became a batch: it is not one of the next under its id."""
        await self._manifests.delete(layout.stop(batch_id, 0))

    async def write(self, batch_id: str, round_: int, reason: type[InferenceError]) -> bool:
        """Mark a round as ended; the first reason stays. False when there was one."""
        name, metadata = layout.stop(batch_id, round_), {"reason": reason.code}
        try:
            await self._manifests.write(
                name, b"{}", if_match=ABSENT, metadata=metadata, content_type="application/json"
            )
        except PreconditionFailed:
            return False
        return True


class StopWatch:
    """Looks for a stop of one batch, at most once a second however many shards and items ask."""

    def __init__(self, stops: Stops, batch_id: str, clock: Callable[[], float]) -> None:
        self._stops = stops
        self._batch_id = batch_id
        self._clock = clock
        self._looked_at = -math.inf
        #: As of the last look.
        self.stop: Stop | None = None

    async def look(self) -> Stop | None:
        """Return the stop as of a second ago at most; while another look is under way, as of the one before."""
        if self._clock() - self._looked_at >= _LOOK_SECONDS:
            await self.look_now()
        return self.stop

    async def look_now(self) -> Stop | None:
        """Return the stop as it is."""
        before, self._looked_at = self._looked_at, self._clock()
        try:
            found = await self._stops.read(self._batch_id)
        except BaseException:
            self._looked_at = before
            raise
        # Two looks may end in another order than they began; what the other has seen is not taken back.
        if found is not None and (self.stop is None or found.round >= self.stop.round):
            self.stop = found
        return self.stop

    async def is_ended(self, row: Row) -> bool:
        """Tell whether `row` must not be scored any more."""
        stop = await self.look()
        return stop is not None and stop.ends(row)


class StopWatches:
    """One watch for all the shards of a batch that this process works on: looks are listings, the dearest of calls."""

    def __init__(self, stops: Stops, clock: Callable[[], float]) -> None:
        self._stops = stops
        self._clock = clock
        #: A watch lives as long as a shard holds it, so that what an idle process once saw is not believed later.
        self._watches: WeakValueDictionary[str, StopWatch] = WeakValueDictionary()

    def of(self, batch_id: str) -> StopWatch:
        """Return the batch's watch."""
        watch = self._watches.get(batch_id)
        if watch is None:
            watch = self._watches[batch_id] = StopWatch(self._stops, batch_id, self._clock)
        return watch
