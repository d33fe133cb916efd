"""Owns the measuring of a batch of many shards: its status while it runs, and its end, each in a fresh process.

`python -m benchmarks.manifest.survey STEP SHARDS ROWS CONNECTION_STRING` prints one line of JSON. The steps are
`prepare`, `look` and `finish`; parts are written by the service with made-up predictions. It refuses to score.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from statistics import median

import orjson

from benchmarks.manifest.expansion import open_service, peak_mib
from inference.batch.concurrency import for_each
from inference.batch.messages import FinishMessage
from inference.batch.parts import Part, PartStore
from inference.batch.ports import Delivery
from inference.batch.rows import Row, RowStatus
from inference.settings import BatchSettings, StorageSettings
from inference.storage.azure import AzureStorage

_LOOKS = 5
#: What a model of a thousand classes leaves in a row.
_PREDICTIONS = [{"label": f"a label of usual length {rank}", "score": 0.9 / (rank + 1)} for rank in range(5)]


async def prepare(storage: AzureStorage, shards: int, rows: int) -> str:
    """Make a batch whose shards are all scored but the last, and return its id."""
    service, _ = open_service(storage, BatchSettings(shard_size=rows))
    batch_id = uuid.uuid4().hex
    await storage.blobs("manifests").write_stream(batch_id, _lines(shards * rows))
    await service.on_manifest(Delivery(orjson.dumps({"batch_id": batch_id, "manifest": batch_id}), batch_id))
    await write_parts(storage, batch_id, range(shards - 1), rows)
    return batch_id


async def write_parts(storage: AzureStorage, batch_id: str, shards: range, rows: int) -> None:
    """Write parts as scored."""
    parts = PartStore(storage.blobs("results"))

    async def write(shard: int) -> None:
        blank = Part(tuple(Row(index, str(index), _url(index)) for index in range(shard * rows, (shard + 1) * rows)))
        await parts.update(batch_id, shard, blank, lambda part: part.map(_scored))

    await for_each(shards, write)


def _scored(row: Row) -> Row:
    done = {"status": RowStatus.SUCCEEDED, "model": "digits", "version": "1", "predictions": _PREDICTIONS}
    return Row(row.index, row.id, row.url, attempts=1, tries=1, **done)  # type: ignore[arg-type]


def _url(index: int) -> str:
    return f"https://images.example/photos/2026/11/{index:08d}.jpg"


async def _lines(count: int) -> AsyncIterator[bytes]:
    for start in range(0, count, 10_000):
        yield "".join([f"{_url(index)}\n" for index in range(start, min(start + 10_000, count))]).encode()


async def look(storage: AzureStorage, batch_id: str, rows: int) -> dict[str, float]:
    """Return the seconds of one status of a running batch."""
    service, _ = open_service(storage, BatchSettings(shard_size=rows))
    seconds = []
    for _ in range(_LOOKS):
        begun = time.perf_counter()
        status = await service.status(batch_id)
        seconds.append(time.perf_counter() - begun)
        assert (status.state, status.pending) == ("running", rows), status
    return {"seconds": median(seconds), "peak_mib": peak_mib()}


async def finish(storage: AzureStorage, batch_id: str, shards: int, rows: int) -> dict[str, float]:
    """Have the last shard scored, and return the seconds of the batch's end."""
    service, _ = open_service(storage, BatchSettings(shard_size=rows))
    await write_parts(storage, batch_id, range(shards - 1, shards), rows)
    begun = time.perf_counter()
    await service.on_finish(Delivery(FinishMessage(batch_id=batch_id).encode(), batch_id))
    seconds = time.perf_counter() - begun
    assert (await service.status(batch_id)).state == "succeeded"
    return {"seconds": seconds, "peak_mib": peak_mib()}


def main() -> None:
    """Do one step."""
    parser = argparse.ArgumentParser()
    parser.add_argument("step", choices=["prepare", "look", "finish"])
    parser.add_argument("shards", type=int)
    parser.add_argument("rows", type=int)
    parser.add_argument("connection_string")
    parser.add_argument("--batch", default="")
    options = parser.parse_args()

    async def run() -> Mapping[str, object]:
        async with AzureStorage.connect(StorageSettings(connection_string=options.connection_string)) as storage:
            match options.step:
                case "prepare":
                    return {"batch_id": await prepare(storage, options.shards, options.rows)}
                case "look":
                    return await look(storage, options.batch, options.rows)
                case _:
                    return await finish(storage, options.batch, options.shards, options.rows)

    print(json.dumps(asyncio.run(run())))


if __name__ == "__main__":
    main()
