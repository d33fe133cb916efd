"""Ten thousand shards: what the status and the end of a batch ask of storage, and what they hold of it at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterable, Callable, Mapping

import orjson
import pytest

from inference.batch.messages import FinishMessage
from inference.batch.parts import Part, PartStore
from inference.batch.ports import Delivery
from inference.batch.rows import Row, RowStatus
from tests.fakes import FakeBlobStore
from tests.flows.simulation import Simulation

SHARDS = 10_000


class HeldParts:
    """How many parts a finisher has read and not yet passed on."""

    def __init__(self) -> None:
        self.read = 0
        self.written = 0
        self.most = 0

    def note_read(self) -> None:
        self.read += 1
        self.most = max(self.most, self.read - self.written)


async def scored_batch() -> Simulation:
    """Return a batch of one-image shards, each of which is scored; only the finisher has yet to look."""
    sim = Simulation()
    urls = [f"https://images.example/{index}.jpg" for index in range(SHARDS)]
    await sim.storage.blobs("manifests").write("many.txt", "\n".join(urls).encode())
    message = {"batch_id": "b", "manifest": "many.txt", "mini_batch_size": 1}
    await sim.service.on_manifest(Delivery(orjson.dumps(message), "m"))
    parts = PartStore(sim.storage.blobs("results"))
    for index, url in enumerate(urls):
        done = Row(index, str(index), url, RowStatus.SUCCEEDED, 1, 1, "digits", "1", [{"label": "7", "score": 0.5}])
        await parts.update("b", index, Part((Row(index, str(index), url),)), _replacing(done))
    sim.storage.calls.clear()
    return sim


def _replacing(row: Row) -> Callable[[Part], Part]:
    return lambda _: Part((row,))


async def test_status_takes_a_listing_however_many_the_shards() -> None:
    sim = await scored_batch()

    status = await sim.service.status("b")

    assert (status.succeeded, status.pending) == (SHARDS, 0)
    assert Counter(call.method for call in sim.storage.calls) == {
        "blobs.list": 2,
        "blobs.properties": 1,
        "blobs.read": 1,
    }


async def test_the_end_reads_each_part_once_and_holds_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = await scored_batch()
    held = HeldParts()
    read, write_stream = FakeBlobStore.read, FakeBlobStore.write_stream

    async def noted_read(store: FakeBlobStore, name: str) -> object:
        if "/parts/" in name:
            held.note_read()
        return await read(store, name)

    async def noted_write(
        store: FakeBlobStore, name: str, chunks: AsyncIterable[bytes], **options: str | Mapping[str, str] | None
    ) -> str:
        async def noted() -> AsyncIterable[bytes]:
            async for chunk in chunks:
                held.written += 1
                yield chunk

        return await write_stream(store, name, noted(), **options)  # type: ignore[arg-type]

    monkeypatch.setattr(FakeBlobStore, "read", noted_read)
    monkeypatch.setattr(FakeBlobStore, "write_stream", noted_write)
    await sim.service.on_finish(Delivery(FinishMessage(batch_id="b").encode(), "f"))

    assert (held.read, held.written) == (SHARDS, SHARDS)
    assert held.most <= 9
    assert len(sim.storage.calls) < SHARDS + 20
    rows = sim.storage.blobs("results").contents["b/results.jsonl"].splitlines()
    assert [orjson.loads(rows[index])["index"] for index in (0, SHARDS - 1)] == [0, SHARDS - 1]
    assert len(rows) == SHARDS
