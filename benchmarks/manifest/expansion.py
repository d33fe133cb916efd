"""Owns one measurement of the way from a manifest to shards, in a fresh process, whose memory is then its own.

`python -m benchmarks.manifest.expansion STAGE FILE CONNECTION_STRING` prints one line of JSON. The stages build on one
another: `parse`, `canonicalise`, `upload`, and `expand`, which is what the service does with a pointer on its queue. It
refuses models: the version that a batch is pinned to is made up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from inference.batch.canonical import Canonicaliser, write_canonical
from inference.batch.layout import ContainerName, QueueName
from inference.batch.manifest import read_items
from inference.batch.ports import Delivery, ModelPin, Queues, Stores
from inference.batch.service import BatchService
from inference.settings import BatchSettings, StorageSettings
from inference.storage import MessageQueue
from inference.storage.azure import AzureStorage

STAGES = ("parse", "canonicalise", "upload", "expand")

_CHUNK_BYTES = 4 * 1024 * 1024


class NoScorer:
    """Pins a batch to a model that nobody has."""

    async def resolve(self, model: str | None, parameters: Mapping[str, Any]) -> ModelPin:  # noqa: ARG002
        """Return a version."""
        return ModelPin("digits", "1", "0" * 64)

    async def score(
        self, url: str, pin: ModelPin, parameters: Mapping[str, Any], deadline_seconds: float
    ) -> list[Mapping[str, Any]]:
        """Raise, always."""
        raise NotImplementedError


class NotedQueue:
    """A queue that remembers how many messages were sent, and when the first one was."""

    def __init__(self, queue: MessageQueue) -> None:
        self._queue = queue
        self.sent = 0
        self.begun = 0.0

    async def send(self, body: bytes, *, delay_seconds: float = 0) -> None:
        """Send."""
        self.begun = self.begun or time.perf_counter()
        await self._queue.send(body, delay_seconds=delay_seconds)
        self.sent += 1

    async def approximate_count(self) -> int:
        """Return the queue's own count."""
        return await self._queue.approximate_count()


def open_service(storage: AzureStorage, settings: BatchSettings) -> tuple[BatchService, NotedQueue]:
    """Return a batch path without models, and its queue of shards."""
    shards = NotedQueue(storage.queue(QueueName.SHARDS))
    stores = Stores(*(storage.blobs(name) for name in ContainerName))
    queues = Queues(
        storage.queue(QueueName.MANIFESTS), shards, storage.queue(QueueName.FINISH), storage.queue(QueueName.EVENTS)
    )
    return BatchService(stores, queues, NoScorer(), settings), shards


async def read_chunks(path: Path) -> AsyncIterator[bytes]:
    """Yield a file as storage would."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


async def measure(stage: str, path: Path, storage: AzureStorage, mini_batch_size: int) -> dict[str, float]:
    """Return seconds and counts of one stage."""
    settings = BatchSettings(shard_size=mini_batch_size)
    canonicaliser = Canonicaliser(mini_batch_size, settings.max_manifest_items)
    name = uuid.uuid4().hex
    manifests = storage.blobs(ContainerName.MANIFESTS)
    if stage == "expand":
        await manifests.write_stream(name, read_chunks(path))
    begun = time.perf_counter()
    if stage == "expand":
        return await _expand(storage, name, settings)
    items = read_items(read_chunks(path))
    if stage == "parse":
        total = 0
        async for some in items:
            total += len(some)
        return {"seconds": time.perf_counter() - begun, "items": total}
    if stage == "canonicalise":
        async for _ in canonicaliser.write_all(items):
            pass
    else:
        await write_canonical(manifests, name, "bench", items, canonicaliser)
    return {"seconds": time.perf_counter() - begun, "items": canonicaliser.total}


async def _expand(storage: AzureStorage, name: str, settings: BatchSettings) -> dict[str, float]:
    service, shards = open_service(storage, settings)
    message = {"batch_id": name, "manifest": name}
    begun = time.perf_counter()
    await service.on_manifest(Delivery(orjson.dumps(message), name))
    ended = time.perf_counter()
    status = await service.status(name)
    return {
        "seconds": ended - begun,
        "items": status.total,
        "messages": shards.sent,
        "message_seconds": ended - shards.begun,
    }


def peak_mib() -> float:
    """Return the most memory that this process ever had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure one stage."""
    parser = argparse.ArgumentParser()
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("file", type=Path)
    parser.add_argument("connection_string")
    parser.add_argument("--mini-batch-size", type=int, default=100)
    options = parser.parse_args()

    async def run() -> dict[str, float]:
        async with AzureStorage.connect(StorageSettings(connection_string=options.connection_string)) as storage:
            return await measure(options.stage, options.file, storage, options.mini_batch_size)

    found = asyncio.run(run())
    print(json.dumps({**found, "peak_mib": peak_mib()}))


if __name__ == "__main__":
    main()
