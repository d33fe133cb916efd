"""Owns the evidence that a range of items takes its worker down: deliveries that began and never ended.

A crash leaves no exception, so a marker is written before scoring and taken away however scoring ends. Only ranges
under suspicion pay for it, and each is scored alone in its process, so that a crash is evidence against it and
nothing else. It refuses to count failures of ours: those end, if badly, and take the marker away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import orjson

from inference.batch import layout
from inference.batch.messages import ShardMessage
from inference.batch.ports import Delivery
from inference.errors import Unavailable
from inference.storage import BlobNotFound, BlobStore

#: Lost deliveries on record before a single item is given up. One alone may be a marker that an outage of storage
#: kept from being taken away.
_LOST_BEFORE_GIVING_UP = 2


class Suspects:
    """The markers in the container `manifests`."""

    def __init__(self, manifests: BlobStore, after_deliveries: int) -> None:
        self._manifests = manifests
        self._after_deliveries = after_deliveries

    async def lost(self, message: ShardMessage) -> list[str]:
        """Return which deliveries of this range began and never ended."""
        try:
            blob = await self._manifests.read(_name(message))
        except BlobNotFound:
            return []
        return [str(delivery) for delivery in orjson.loads(blob.data)]

    def is_guilty(self, message: ShardMessage, dequeue_count: int, lost: int) -> bool:
        """Tell whether the range is to be split, or as a single item given up."""
        if message.count == 1:
            return lost >= _LOST_BEFORE_GIVING_UP and dequeue_count >= self._after_deliveries
        # A part of a range that was split already is split again at the first crash: each one costs a lease.
        return lost >= 1 and dequeue_count >= (2 if message.is_suspect else self._after_deliveries)

    @contextlib.asynccontextmanager
    async def watched(self, message: ShardMessage, delivery: Delivery, lost: list[str]) -> AsyncIterator[None]:
        """Keep a marker while the range is scored; it stays only when the process does not get to the end.

        Raises Unavailable when all was done but the marker cannot be taken away: the next delivery does that.
        """
        name = _name(message)
        this = f"{delivery.message_id}/{delivery.dequeue_count}"
        await self._manifests.write(name, orjson.dumps([*lost, this]), content_type="application/json")
        try:
            yield
        except BaseException:
            with contextlib.suppress(Unavailable):
                await self._manifests.delete(name)
            raise
        await self._manifests.delete(name)

    async def clear(self, message: ShardMessage) -> None:
        """Take the marker away: the verdict is durable."""
        await self._manifests.delete(_name(message))


class Isolation:
    """Lets many ordinary shards run at once in this process, or one suspect alone; who waits to be alone goes first."""

    def __init__(self) -> None:
        self._condition = asyncio.Condition()
        self._running = 0
        self._is_alone = False
        self._waiting_alone = 0

    @contextlib.asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Run beside others."""
        async with self._condition:
            await self._condition.wait_for(lambda: not self._is_alone and not self._waiting_alone)
            self._running += 1
        try:
            yield
        finally:
            await self._leave()

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Run with no other shard in this process."""
        async with self._condition:
            self._waiting_alone += 1
            try:
                await self._condition.wait_for(lambda: not self._is_alone and not self._running)
            finally:
                self._waiting_alone -= 1
                self._condition.notify_all()
            self._running, self._is_alone = 1, True
        try:
            yield
        finally:
            await self._leave()

    async def _leave(self) -> None:
        async with self._condition:
            self._running -= 1
            self._is_alone = False
            self._condition.notify_all()


def _name(message: ShardMessage) -> str:
    return layout.suspect(message.batch_id, message.shard, message.first, message.count)
