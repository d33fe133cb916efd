"""What the Functions host finds in a queue that this service sent to."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator

import pytest
from azure.storage.queue.aio import QueueClient

from inference.storage import HidingQueue
from inference.storage.azure.account import API_VERSION

#: Of the two kinds of storage, the one that other programs reach too.
pytestmark = pytest.mark.parametrize("storage", ["azurite"], indirect=True)


@pytest.fixture
async def host(azurite: str, unique_name: str) -> AsyncIterator[QueueClient]:
    async with QueueClient.from_connection_string(azurite, unique_name, api_version=API_VERSION) as client:
        yield client


async def test_a_message_is_base64_and_never_expires(queue: HidingQueue, host: QueueClient) -> None:
    await queue.send(json.dumps({"batch_id": "ä"}).encode())

    message = await host.receive_message()

    assert message is not None
    assert json.loads(base64.b64decode(message.content, validate=True)) == {"batch_id": "ä"}
    assert message.expires_on is not None
    assert message.expires_on.year == 9999


async def test_a_delayed_message_waits(queue: HidingQueue, host: QueueClient) -> None:
    await queue.send(b"later", delay_seconds=60)
    await queue.send(b"now")

    received = [message async for message in host.receive_messages()]

    assert [base64.b64decode(message.content) for message in received] == [b"now"]


async def test_a_hidden_message_waits_until_it_is_shown_and_is_whole_then(
    queue: HidingQueue, host: QueueClient
) -> None:
    hidden = await queue.send_hidden(b"shown", delay_seconds=600)
    assert await host.receive_message() is None

    assert await queue.show(hidden)

    message = await host.receive_message()
    assert message is not None
    assert base64.b64decode(message.content) == b"shown"
    assert message.expires_on is not None
    assert message.expires_on.year == 9999


async def test_a_message_that_was_received_or_is_gone_cannot_be_shown(queue: HidingQueue, host: QueueClient) -> None:
    hidden = await queue.send_hidden(b"quick", delay_seconds=0)
    received = await host.receive_message()
    assert received is not None

    assert not await queue.show(hidden)
    await host.delete_message(received)
    assert not await queue.show(hidden)
    await host.delete_queue()
    assert not await queue.show(hidden)


async def test_any_bytes_are_a_message(queue: HidingQueue, host: QueueClient) -> None:
    body = bytes(range(256))

    await queue.send(body)

    message = await host.receive_message()
    assert message is not None
    assert base64.b64decode(message.content) == body
