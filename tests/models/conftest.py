"""A model repository in a container, on the fake and on Azurite, and a source over it with a cache of its own."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inference.models.blob_source import BlobSource
from inference.models.cache import VersionCache
from inference.settings import StorageSettings
from inference.storage import BlobStore
from inference.storage.azure import AzureStorage
from tests.fakes import FakeStorage

PREFIX = "teams/vision/"

type NewSource = Callable[..., BlobSource]


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


@pytest.fixture(params=["fake", "azurite"])
async def blobs(request: pytest.FixtureRequest) -> AsyncIterator[BlobStore]:
    """A container that does not exist yet."""
    name = f"t-{uuid.uuid4().hex}"
    if request.param == "fake":
        yield FakeStorage().blobs(name)
        return
    async with AzureStorage.connect(StorageSettings(connection_string=request.getfixturevalue("azurite"))) as account:
        yield account.blobs(name)


@pytest.fixture
def cache_folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def new_source(blobs: BlobStore, cache_folder: Path, executor: ThreadPoolExecutor) -> NewSource:
    """Make a source, as a process that starts would: a cache over the same folder, and nothing remembered."""

    def new_source(max_bytes: int = 1 << 30, blobs: BlobStore = blobs) -> BlobSource:
        return BlobSource(blobs, PREFIX, VersionCache(cache_folder, max_bytes), executor)

    return new_source
