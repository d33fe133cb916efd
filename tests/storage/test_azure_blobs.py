"""Blobs that other programs wrote: with properties and metadata that the service itself never gives."""

from __future__ import annotations

import gzip
import os
from collections.abc import AsyncIterator

import pytest
from azure.storage.blob import ContentSettings
from azure.storage.blob.aio import ContainerClient

from inference.storage import BlobStore
from inference.storage.azure.account import API_VERSION
from inference.storage.azure.blobs import BLOCK_BYTES

#: Of the two kinds of storage, the one that other programs reach too.
pytestmark = pytest.mark.parametrize("storage", ["azurite"], indirect=True)

#: aiohttp warns of longer ones.
BODY_BYTES = 1 << 19
MANY_BLOCKS = gzip.compress(os.urandom(BLOCK_BYTES + 1000))


@pytest.fixture
async def others(azurite: str, unique_name: str) -> AsyncIterator[ContainerClient]:
    async with ContainerClient.from_connection_string(
        azurite,
        unique_name,
        api_version=API_VERSION,
        max_single_put_size=BODY_BYTES,
        max_block_size=BODY_BYTES,
    ) as client:
        await client.create_container()
        yield client


@pytest.mark.parametrize(
    "stored",
    [gzip.compress(b"https://host/a.png\n" * 1000), MANY_BLOCKS, b"no gzip at all"],
    ids=["packed", "packed-over-blocks", "not-packed"],
)
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_blob_is_read_as_it_is_stored_whatever_its_content_encoding_says(
    blobs: BlobStore, others: ContainerClient, stored: bytes, coding: str
) -> None:
    await others.upload_blob("a", stored, content_settings=ContentSettings(content_encoding=coding))

    assert (await blobs.read("a")).data == stored
    assert b"".join([chunk async for chunk in blobs.stream("a")]) == stored
    assert await blobs.read_range("a", 2, 5) == stored[2:7]


async def test_metadata_that_is_named_like_a_listing_s_own_elements_is_metadata(
    blobs: BlobStore, others: ContainerClient
) -> None:
    await others.upload_blob("a", b"x", metadata={"Blob": "1", "Name": "2", "NextMarker": "3"})
    await others.upload_blob("b", b"xy")

    assert [(blob.name, blob.bytes) async for blob in blobs.list("")] == [("a", 1), ("b", 2)]


async def test_a_blob_of_which_somebody_took_a_snapshot_can_be_deleted(
    blobs: BlobStore, others: ContainerClient
) -> None:
    await blobs.write("a", b"x")
    await others.get_blob_client("a").create_snapshot()

    await blobs.delete("a")

    assert await blobs.properties("a") is None
