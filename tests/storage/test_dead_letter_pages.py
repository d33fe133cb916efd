"""More blobs of dead letters than the 5,000 that storage lists at once: none past the first page is missed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator

import pytest

from inference.batch import layout
from inference.batch.canonical import Canonicaliser, CanonicalManifest, write_canonical
from inference.batch.concurrency import for_each
from inference.batch.deadletters import DeadLetters
from inference.batch.items import unknown_rows
from inference.batch.layout import ContainerName, QueueName
from inference.batch.parts import Part, PartStore
from inference.batch.ports import Delivery, ModelPin, Queues, Stores
from inference.batch.record import BatchRecord, Records
from inference.batch.retry import describe
from inference.batch.rows import Attempt, give_up
from inference.batch.selection import DeadLetterFilter, Place
from inference.batch.service import BatchService
from inference.errors import ImageNotFound, InferenceError, InvalidImage
from inference.settings import BatchSettings, StorageSettings
from inference.storage.azure import AzureStorage
from tests.fakes import FakeStorage
from tests.flows.simulation import ScriptedScorer

BATCH = "many"
#: A blob each, as with one image a shard.
LETTERS = 5_100
PAGE_OF_STORAGE = 5_000
PIN = ModelPin("digits", "1", "ab" * 32)
URLS = [f"https://images.example/{index}.jpg?sig=secret" for index in range(LETTERS)]
#: The only ones of their code, most of them past the first page.
RARE = [17, 4_999, 5_000, 5_001, 5_050, 5_099]
RARE_CODE = InvalidImage.code


class Account:
    """An account with that batch in it, and a service on it."""

    def __init__(self, storage: AzureStorage) -> None:
        self.stores = Stores(**{name.value: storage.blobs(name) for name in ContainerName})
        self.queues = FakeStorage()
        queues = Queues(**{name.name.lower(): self.queues.queue(name) for name in QueueName})
        self.service = BatchService(self.stores, queues, ScriptedScorer(), BatchSettings())
        self.parts = PartStore(self.stores.results)
        self._letters = DeadLetters(self.stores.deadletters, self.parts)

    async def fill(self) -> None:
        """Write what the batch would have left, but for the parts of the common failures, which nobody asks for."""
        record = _record(await self._write_manifest())
        await Records(self.stores).create(record)

        async def fail(shard: int) -> None:
            is_rare = shard in RARE
            part = _failed(record, shard, InvalidImage() if is_rare else ImageNotFound())
            if is_rare:
                part = await self.parts.update(BATCH, shard, unknown_rows(record, shard), lambda _: part)
            await self._letters.write(record, shard, part)

        await for_each(range(LETTERS), fail)

    async def _write_manifest(self) -> CanonicalManifest:
        async def items() -> AsyncIterator[list[tuple[str | None, str]]]:
            yield [(None, url) for url in URLS]

        return await write_canonical(self.stores.manifests, BATCH, "key", items(), Canonicaliser(1, LETTERS))


def _record(canonical: CanonicalManifest) -> BatchRecord:
    return BatchRecord(
        batch_id=BATCH,
        digest=canonical.digest,
        asked="asked",
        source="source",
        message_id="message",
        model=PIN.name,
        version=PIN.version,
        sha256=PIN.sha256,
        total=canonical.total,
        shards=canonical.shards,
        mini_batch_size=canonical.mini_batch_size,
        max_attempts=3,
        error_threshold=-1,
        manifest=canonical.manifest,
        manifest_etag=canonical.etag,
        table=canonical.table,
        created_at="2026-01-01T00:00:00+00:00",
        traceparent=f"00-{hashlib.md5(b'trace', usedforsecurity=False).hexdigest()}-{'1' * 16}-01",
    )


def _failed(record: BatchRecord, shard: int, error: InferenceError) -> Part:
    attempt = Attempt("2026-01-01T00:00:00+00:00", PIN, record.trace_id)
    return unknown_rows(record, shard).map(lambda row: give_up(row, describe(error), attempt))


@pytest.fixture
async def account(azurite: str) -> AsyncIterator[Account]:
    async with AzureStorage.connect(StorageSettings(connection_string=azurite)) as storage:
        account = Account(storage)
        await account.fill()
        yield account


async def indexes(account: Account, wanted: DeadLetterFilter) -> list[int]:
    """Return what a listing shows, read to its end."""
    page = await account.service.list_dead_letters(wanted)
    assert page.next is None
    return [letter["index"] for letter in page.records]


async def test_dead_letters_in_more_blobs_than_a_page_of_storage_are_listed_exported_replayed_and_purged(
    account: Account,
) -> None:
    service, rare = account.service, DeadLetterFilter(batch_id=BATCH, code=RARE_CODE)
    last = Place(layout.dead_letter(BATCH, PAGE_OF_STORAGE - 3), 0).encode()
    assert await indexes(account, DeadLetterFilter(batch_id=BATCH, after=last)) == [*range(4_998, LETTERS)]
    assert await indexes(account, rare) == RARE
    assert await indexes(account, DeadLetterFilter(code=RARE_CODE)) == RARE

    exported = [json.loads(line) async for chunk in service.export(rare) for line in chunk.splitlines()]
    assert [(item["id"], item["url"]) for item in exported] == [(str(index), URLS[index]) for index in RARE]

    purged = await service.purge(DeadLetterFilter(batch_id=BATCH, code=RARE_CODE, limit=3))
    assert purged.count == 3
    assert await indexes(account, rare) == RARE[3:]

    replayed = await service.replay(rare)
    assert (replayed.count, [batch["round"] for batch in replayed.batches]) == (3, [1])
    (body,) = account.queues.queue(QueueName.FINISH).bodies
    await service.on_finish(Delivery(body, "finish", 1))
    assert await indexes(account, rare) == []
    for index in RARE[3:]:
        part = await account.parts.read(BATCH, index)
        assert part is not None
        assert [(row.is_pending, row.round) for row in part.rows] == [(True, 1)]
    assert len(account.queues.queue(QueueName.SHARDS).bodies) == 3
