"""Fixtures of the local host's tests: an HTTP client, and queues of the shared Azurite under names of their own."""

from __future__ import annotations

import uuid
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from tests.hosting import eventually


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def unique() -> str:
    """A name that no other test uses, good for queues, containers and folders."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def app_dir(tmp_path: Path) -> Path:
    return tmp_path / "app"


class Queue:
    """A queue as a user of the Functions host sees it: base64 in, texts out."""

    def __init__(self, client: QueueClient) -> None:
        self.client = client

    async def create(self) -> None:
        """Make the queue, unless it is there."""
        with suppress(ResourceExistsError):
            await self.client.create_queue()

    async def send(self, text: str, *, encode: bool = True) -> None:
        await self.client.send_message(b64encode(text.encode()).decode() if encode else text)

    async def count(self) -> int:
        """Messages in the queue, the invisible ones too; a missing queue has none."""
        try:
            properties = await self.client.get_queue_properties()
        except ResourceNotFoundError:
            return 0
        return properties.approximate_message_count or 0

    async def peek(self) -> list[str]:
        """The visible messages' raw texts; a missing queue has none."""
        try:
            return [str(message.content) for message in await self.client.peek_messages(max_messages=32)]
        except ResourceNotFoundError:
            return []

    async def is_empty(self) -> bool:
        return await self.count() == 0

    async def wait_until_empty(self) -> None:
        await eventually(self.is_empty)

    async def wait_for_messages(self, number: int) -> list[str]:
        async def enough() -> list[str]:
            texts = await self.peek()
            return texts if len(texts) >= number else []

        return await eventually(enough)


@pytest.fixture
async def queue(azurite: str) -> AsyncIterator[Callable[[str], Queue]]:
    """Make a `Queue` of a name."""
    async with QueueServiceClient.from_connection_string(azurite) as service:
        yield lambda name: Queue(service.get_queue_client(name))


@pytest.fixture
async def blobs(azurite: str) -> AsyncIterator[BlobServiceClient]:
    async with BlobServiceClient.from_connection_string(azurite) as service:
        yield service
