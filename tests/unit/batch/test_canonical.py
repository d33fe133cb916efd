from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.batch.canonical import Canonicaliser, ShardTable, digest_items, write_canonical
from inference.batch.manifest import Item
from inference.errors import InvalidManifest
from inference.storage import BlobNotFound
from tests.fakes import Crash, FakeBlobStore, FakeStorage


def items(count: int) -> list[Item]:
    return [(None, f"https://images.example/{'x' * (index % 5)}{index}") for index in range(count)]


async def some_at_a_time(every: list[Item], size: int) -> AsyncIterator[list[Item]]:
    for start in range(0, len(every), size):
        yield every[start : start + size]


@given(
    st.integers(min_value=1, max_value=60),
    st.integers(min_value=1, max_value=20),
    st.integers(min_value=1, max_value=20),
)
async def test_the_shards_cover_every_item_once_and_in_order(total: int, size: int, chunk: int) -> None:
    store = FakeStorage().blobs("manifests")
    canonical = await write_canonical(store, "b", "key", some_at_a_time(items(total), chunk), Canonicaliser(size, 1000))

    ranges = [where async for where in ShardTable.of(store, canonical).read_all()]

    indexes = [index for where in ranges for index in range(where.first, where.first + where.count)]
    assert indexes == list(range(total))
    assert [where.shard for where in ranges] == list(range(canonical.shards))
    data = store.contents[canonical.manifest]
    lines = [line for where in ranges for line in data[where.offset : where.offset + where.bytes].splitlines()]
    assert [orjson.loads(line)["url"] for line in lines] == [url for _, url in items(total)]
    for where in ranges:
        assert len(data[where.offset : where.offset + where.bytes].splitlines()) == where.count
        assert await ShardTable.of(store, canonical).read(where.shard) == where


class SlicingStore(FakeBlobStore):
    """Streams in slices that no offset fits into; one that is torn loses the blob in the middle, once."""

    is_torn = False

    async def stream(self, name: str, *, if_match: str | None = None) -> AsyncIterator[bytes]:
        async for chunk in super().stream(name, if_match=if_match):
            for start in range(0, len(chunk), 5):
                if self.is_torn and start >= len(chunk) // 2:
                    self.is_torn = False
                    await self.delete(name)
                    raise BlobNotFound(name)
                yield chunk[start : start + 5]


async def test_a_table_that_comes_in_pieces_is_read_whole() -> None:
    store = SlicingStore("manifests")
    canonical = await write_canonical(store, "b", "key", some_at_a_time(items(100), 7), Canonicaliser(3, 100))

    ranges = [where async for where in ShardTable.of(store, canonical).read_all()]

    assert [where.first for where in ranges] == list(range(0, 100, 3))
    assert sum(where.bytes for where in ranges) == len(store.contents[canonical.manifest])


async def test_a_table_that_was_deleted_is_made_again_from_its_manifest() -> None:
    store = FakeStorage().blobs("manifests")
    canonical = await write_canonical(store, "b", "key", some_at_a_time(items(10), 3), Canonicaliser(3, 100))
    table = ShardTable.of(store, canonical)
    ranges = [where async for where in table.read_all()]
    written = store.contents[canonical.table]

    await store.delete(canonical.table)
    assert await table.read(2) == ranges[2]
    assert store.contents[canonical.table] == written
    await store.delete(canonical.table)
    assert [where async for where in table.read_all()] == ranges
    # Another delivery of the message that made the batch finds in it what it found in the first one.
    found = await write_canonical(store, "b", "key", some_at_a_time(items(1), 1), Canonicaliser(3, 100))
    assert found == canonical


async def test_a_table_that_is_deleted_while_it_is_read_is_read_on() -> None:
    store = SlicingStore("manifests")
    canonical = await write_canonical(store, "b", "key", some_at_a_time(items(10), 3), Canonicaliser(3, 100))
    table = ShardTable.of(store, canonical)
    ranges = [where async for where in table.read_all()]
    store.is_torn = True

    assert [where async for where in table.read_all()] == ranges


@pytest.mark.parametrize("damage", ["deleted", "changed"])
async def test_nothing_is_known_of_shards_without_manifest_and_table(damage: str) -> None:
    store = FakeStorage().blobs("manifests")
    canonical = await write_canonical(store, "b", "key", some_at_a_time(items(5), 3), Canonicaliser(2, 100))
    table = ShardTable.of(store, canonical)
    await store.delete(canonical.table)
    if damage == "changed":
        await store.write(canonical.manifest, b'{"id":"x","url":"https://elsewhere.example/x"}\n' * 5)
    else:
        await store.delete(canonical.manifest)

    assert [(where.first, where.count, where.bytes) async for where in table.read_all()] == [
        (0, 2, 0),
        (2, 2, 0),
        (4, 1, 0),
    ]
    assert (await table.read(1)).bytes == 0
    assert canonical.table not in store.contents


async def test_a_second_writer_finds_what_the_first_one_wrote() -> None:
    store = FakeStorage().blobs("manifests")

    first = await write_canonical(store, "b", "key", some_at_a_time(items(5), 2), Canonicaliser(2, 100))
    second = await write_canonical(store, "b", "key", some_at_a_time(items(9), 2), Canonicaliser(3, 100))

    assert first == second


@pytest.mark.parametrize("call", range(1, 5))
async def test_a_writer_that_died_half_way_is_carried_on(call: int) -> None:
    # A listing as a source may have changed by then: what was written first counts.
    storage = FakeStorage()
    store = storage.blobs("manifests")
    storage.crash_after(call)
    written = True
    try:
        await write_canonical(store, "b", "key", some_at_a_time(items(5), 2), Canonicaliser(2, 100))
    except Crash:
        written = call >= 2  # the manifest is the second call
    storage.restart()

    found = await write_canonical(store, "b", "key", some_at_a_time(items(9), 2), Canonicaliser(2, 100))

    assert found.total == (5 if written else 9)
    assert [where.first async for where in ShardTable.of(store, found).read_all()] == list(range(0, found.total, 2))


async def test_no_items_and_too_many_are_refused() -> None:
    store = FakeStorage().blobs("manifests")

    with pytest.raises(InvalidManifest, match="no images"):
        await write_canonical(store, "b", "key", some_at_a_time([], 1), Canonicaliser(2, 10))
    with pytest.raises(InvalidManifest, match="10 images at most"):
        await write_canonical(store, "b", "key", some_at_a_time(items(11), 3), Canonicaliser(2, 10))
    assert not store.contents


async def test_the_digest_depends_on_the_items_alone() -> None:
    named: list[Item] = [(str(index), url) for index, (_, url) in enumerate(items(9))]

    assert await digest_items(some_at_a_time(items(9), 2), 100) == await digest_items(some_at_a_time(named, 9), 100)
    assert await digest_items(some_at_a_time(items(9), 2), 100) != await digest_items(some_at_a_time(items(8), 2), 100)
