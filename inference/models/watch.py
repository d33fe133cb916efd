"""The watch on a repository: one look at a time, shared by all who want one, and none older than they allow.

It refuses to draw conclusions from what it sees: that is the registry's part.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from inference.cancellation import shared
from inference.models.catalog import Catalog
from inference.models.source import ModelSource


class RepositoryWatch:
    """Looks at a source when asked to."""

    def __init__(self, source: ModelSource, clock: Callable[[], float]) -> None:
        self._source = source
        self._clock = clock
        self._looking: asyncio.Task[Catalog] | None = None
        #: What the last look that succeeded saw.
        self.last: Catalog | None = None
        self._seen_at = 0.0

    async def look(self, *, max_age_seconds: float = 0.0) -> Catalog:
        """Return what is published, as a look that ended at most so long ago saw it; 0 looks anew.

        A caller that leaves ends no look. Age counts from a look's end: one that takes longer than it may be old, as of
        thousands of versions, would be too old for everybody as soon as it is there, and each model that a poll brings
        up to date would have the whole repository read again.

        Raises what the source raises, ShuttingDown when the look was given up.
        """
        while True:
            if self.last is not None and self._clock() - self._seen_at < max_age_seconds:
                return self.last
            if self._looking is None:
                self._looking = asyncio.get_running_loop().create_task(self._look())
                break
            if max_age_seconds:
                break
            await asyncio.wait({self._looking})  # it began before what this caller wants to see
        return await shared(self._looking)

    async def close(self) -> None:
        """Give up a look that is under way."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})

    async def _look(self) -> Catalog:
        try:
            self.last = await self._source.survey()
            self._seen_at = self._clock()
            return self.last
        finally:
            self._looking = None
