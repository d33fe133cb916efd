"""The two implementations of storage under one set of fixtures, so that each contract test runs on both."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from inference.settings import StorageSettings
from inference.storage import BlobStore, HidingQueue
from inference.storage.azure import AzureStorage
from tests.fakes import FakeStorage

type Storage = AzureStorage | FakeStorage


@pytest.fixture(params=["fake", "azurite"])
async def storage(request: pytest.FixtureRequest) -> AsyncIterator[Storage]:
    """An account; in the case of Azurite one that other tests share, so names must be unique."""
    if request.param == "fake":
        yield FakeStorage()
        return
    async with AzureStorage.connect(StorageSettings(connection_string=request.getfixturevalue("azurite"))) as connected:
        yield connected


@pytest.fixture
def unique_name() -> str:
    """A name that no other test uses, good for a container and for a queue."""
    return f"t-{uuid.uuid4().hex}"


@pytest.fixture
def blobs(storage: Storage, unique_name: str) -> BlobStore:
    """A container that does not exist yet."""
    return storage.blobs(unique_name)


@pytest.fixture
def queue(storage: Storage, unique_name: str) -> HidingQueue:
    """A queue that does not exist yet."""
    return storage.queue(unique_name)
