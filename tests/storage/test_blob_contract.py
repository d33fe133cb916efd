"""What every BlobStore does, held against the fake and against Azurite."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from datetime import UTC

import pytest

from inference.storage import ABSENT, BlobNotFound, BlobStore, InvalidBlobName, PreconditionFailed
from tests.storage.conftest import Storage

MIB = 1024 * 1024


async def chunks_of(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def broken_after(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    raise ConnectionResetError("the source broke")


async def names(blobs: BlobStore, prefix: str) -> list[str]:
    return [found.name async for found in blobs.list(prefix)]


async def streamed(blobs: BlobStore, name: str, *, if_match: str | None = None) -> list[bytes]:
    return [chunk async for chunk in blobs.stream(name, if_match=if_match)]


async def test_what_was_written_is_read_back_with_its_properties(blobs: BlobStore) -> None:
    etag = await blobs.write("a/b.json", b"{}", metadata={"rows": "3", "state": "x y"}, content_type="application/json")

    blob = await blobs.read("a/b.json")

    assert blob.data == b"{}"
    assert blob.properties.name == "a/b.json"
    assert blob.properties.etag == etag
    assert blob.properties.bytes == 2
    assert blob.properties.metadata == {"rows": "3", "state": "x y"}
    assert blob.properties.last_modified.tzinfo == UTC


async def test_an_etag_is_the_same_wherever_it_is_met(blobs: BlobStore) -> None:
    written = await blobs.write("a", b"x")

    found = [found async for found in blobs.list("")]
    properties = await blobs.properties("a")

    assert properties == found[0] == (await blobs.read("a")).properties
    assert properties.etag == written
    assert await blobs.write("a", b"y", if_match=found[0].etag) != written


async def test_an_empty_blob_is_a_blob(blobs: BlobStore) -> None:
    await blobs.write("empty", b"")
    await blobs.write_stream("streamed-empty", chunks_of())

    assert (await blobs.read("empty")).data == b""
    assert (await blobs.read("streamed-empty")).data == b""
    assert await streamed(blobs, "empty") == []
    assert await blobs.read_range("empty", 0, 10) == b""


async def test_a_missing_blob_and_a_missing_container_read_alike(blobs: BlobStore) -> None:
    for _ in ("no container", "no blob"):
        with pytest.raises(BlobNotFound):
            await blobs.read("missing")
        with pytest.raises(BlobNotFound):
            await blobs.read_range("missing", 0, 1)
        with pytest.raises(BlobNotFound):
            await streamed(blobs, "missing")
        assert await blobs.properties("missing") is None
        assert await names(blobs, "") == []
        await blobs.delete("missing")
        await blobs.write("other", b"")
        await blobs.delete("other")


@pytest.mark.parametrize(
    "name", ["", "..", "../other/blob", "a/../b", "a/./b", "a\\b", "line\nbreak", "\ud800", "x" * 1025]
)
async def test_a_name_that_no_blob_can_have_is_never_found_and_never_written(blobs: BlobStore, name: str) -> None:
    for read in (blobs.read(name), blobs.read_range(name, 0, 1), streamed(blobs, name)):
        with pytest.raises(InvalidBlobName):
            await read
    for write in (blobs.write(name, b"x"), blobs.write_stream(name, chunks_of(b"x"))):
        with pytest.raises(InvalidBlobName):
            await write
    assert await blobs.properties(name) is None
    await blobs.delete(name)


@pytest.mark.parametrize(
    "name", ["plain", "a b/ä?#%25&+=.json", "a//b", "...", ".hidden", "a/..b", "x" * 1024, "日本/語"]
)
async def test_any_other_name_is_kept_to_the_letter(blobs: BlobStore, name: str) -> None:
    await blobs.write(name, b"x")

    assert (await blobs.read(name)).data == b"x"
    assert await names(blobs, name) == [name]


async def test_a_range_ends_with_the_blob(blobs: BlobStore) -> None:
    await blobs.write("digits", b"0123456789")

    assert await blobs.read_range("digits", 0, 4) == b"0123"
    assert await blobs.read_range("digits", 8, 100) == b"89"
    assert await blobs.read_range("digits", 10, 5) == b""
    assert await blobs.read_range("digits", 1000, 5) == b""
    assert await blobs.read_range("digits", 3, 0) == b""


async def test_reading_an_older_version_is_refused(blobs: BlobStore) -> None:
    old = await blobs.write("a", b"first")
    new = await blobs.write("a", b"second")

    assert await blobs.read_range("a", 0, 6, if_match=new) == b"second"
    assert await streamed(blobs, "a", if_match=new) == [b"second"]
    with pytest.raises(PreconditionFailed):
        await blobs.read_range("a", 0, 6, if_match=old)
    with pytest.raises(PreconditionFailed):
        await streamed(blobs, "a", if_match=old)


async def test_absent_only_creates(blobs: BlobStore) -> None:
    await blobs.write("a", b"first", if_match=ABSENT)

    with pytest.raises(PreconditionFailed):
        await blobs.write("a", b"second", if_match=ABSENT)
    with pytest.raises(PreconditionFailed):
        await blobs.write_stream("a", chunks_of(b"second"), if_match=ABSENT)

    assert (await blobs.read("a")).data == b"first"


async def test_a_write_over_another_version_is_refused(blobs: BlobStore) -> None:
    old = await blobs.write("a", b"first")
    new = await blobs.write("a", b"second", if_match=old)

    with pytest.raises(PreconditionFailed):
        await blobs.write("a", b"third", if_match=old)
    with pytest.raises(PreconditionFailed):
        await blobs.write_stream("a", chunks_of(b"third"), if_match=old)
    await blobs.write_stream("a", chunks_of(b"third"), if_match=new)

    assert (await blobs.read("a")).data == b"third"


async def test_a_write_over_a_deleted_blob_is_refused(blobs: BlobStore) -> None:
    etag = await blobs.write("a", b"first")
    await blobs.delete("a")

    with pytest.raises(PreconditionFailed):
        await blobs.write("a", b"second", if_match=etag)
    with pytest.raises(PreconditionFailed):
        await blobs.write_stream("a", chunks_of(bytes(5 * MIB)), if_match=etag)

    assert await blobs.properties("a") is None


async def test_of_many_creators_one_wins(blobs: BlobStore) -> None:
    attempts = [blobs.write("a", str(writer).encode(), if_match=ABSENT) for writer in range(8)]

    outcomes = await asyncio.gather(*attempts, return_exceptions=True)

    won = [writer for writer, outcome in enumerate(outcomes) if isinstance(outcome, str)]
    assert len(won) == 1
    assert all(isinstance(outcome, PreconditionFailed) for outcome in outcomes if not isinstance(outcome, str))
    assert (await blobs.read("a")).data == str(won[0]).encode()


async def test_a_stream_of_many_blocks_arrives_whole(blobs: BlobStore) -> None:
    generator = random.Random(1)
    chunks = [generator.randbytes(size) for size in (1, 3 * MIB, 0, 7 * MIB, 17, 2 * MIB)]

    etag = await blobs.write_stream("long", chunks_of(*chunks), metadata={"a": "1"}, content_type="text/csv")

    read = await streamed(blobs, "long", if_match=etag)
    assert hashlib.sha256(b"".join(read)).digest() == hashlib.sha256(b"".join(chunks)).digest()
    assert max(map(len, read)) <= 4 * MIB
    assert (await blobs.read("long")).properties.metadata == {"a": "1"}
    assert await blobs.read_range("long", 5 * MIB, 3) == b"".join(chunks)[5 * MIB : 5 * MIB + 3]


async def test_a_long_write_arrives_whole(blobs: BlobStore) -> None:
    data = random.Random(2).randbytes(9 * MIB + 1)

    etag = await blobs.write("long", data, if_match=ABSENT)

    assert (await blobs.read("long")).data == data
    with pytest.raises(PreconditionFailed):
        await blobs.write("long", data[1:], if_match=ABSENT)
    await blobs.write("long", data[1:], if_match=etag)
    assert (await blobs.read("long")).data == data[1:]


@pytest.mark.parametrize("before", [b"", b"x" * 5 * MIB], ids=["in the first block", "after a block"])
async def test_a_stream_that_breaks_leaves_nothing_to_read(blobs: BlobStore, before: bytes) -> None:
    with pytest.raises(ConnectionResetError):
        await blobs.write_stream("new", broken_after(before))
    await blobs.write("old", b"as it was")
    with pytest.raises(ConnectionResetError):
        await blobs.write_stream("old", broken_after(before))

    assert await blobs.properties("new") is None
    assert await names(blobs, "new") == []
    assert (await blobs.read("old")).data == b"as it was"


async def test_two_streams_to_one_name_never_mix(blobs: BlobStore) -> None:
    first, second = (bytes([value]) * MIB for value in (1, 2))
    etag = await blobs.write("a", b"")

    outcomes = await asyncio.gather(
        blobs.write_stream("a", chunks_of(*[first] * 9), if_match=etag),
        blobs.write_stream("a", chunks_of(*[second] * 9), if_match=etag),
        return_exceptions=True,
    )

    refused = [outcome for outcome in outcomes if not isinstance(outcome, str)]
    assert len(refused) == 1
    assert isinstance(refused[0], PreconditionFailed)
    assert (await blobs.read("a")).data in (first * 9, second * 9)


async def test_a_stream_is_of_one_version(blobs: BlobStore) -> None:
    await blobs.write("a", bytes(9 * MIB))
    stream = blobs.stream("a")
    await anext(stream)

    await blobs.write("a", b"other")

    with pytest.raises(PreconditionFailed):
        await anext(stream)


async def test_a_listing_is_in_name_order_and_under_its_prefix(blobs: BlobStore) -> None:
    written = ["b/1", "a/10", "a/2", "a", "c", "b/0", "a-1"]
    for name in written:
        await blobs.write(name, name.encode(), metadata={"of": name})

    assert await names(blobs, "") == sorted(written)
    assert await names(blobs, "a/") == ["a/10", "a/2"]
    assert await names(blobs, "a") == ["a", "a-1", "a/10", "a/2"]
    assert [found.metadata["of"] async for found in blobs.list("b/")] == ["b/0", "b/1"]
    assert [found.bytes async for found in blobs.list("b/")] == [3, 3]


async def test_a_deleted_blob_is_gone(blobs: BlobStore) -> None:
    await blobs.write("a", b"x")

    await blobs.delete("a")
    await blobs.delete("a")

    assert await blobs.properties("a") is None


async def test_containers_are_apart(storage: Storage, unique_name: str) -> None:
    await storage.blobs(unique_name).write("a", b"x")

    assert await storage.blobs(f"{unique_name}-other").properties("a") is None
    assert (await storage.blobs(unique_name).read("a")).data == b"x"
