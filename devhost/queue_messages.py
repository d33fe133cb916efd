"""Owns the host's view of one Storage queue: the calls the trigger makes, with the answers it acts on.

It knows no policy: when to poll, renew, release or give up is the listener's and the processor's part.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.queue import StorageErrorCode
from azure.storage.queue.aio import QueueClient
from msgspec import Struct

from devhost.data_bindings import send_creating_queue


class MessageGone(Exception):
    """The message is no longer ours: another receiver has it, or it or its queue was deleted."""


class ReceivedMessage(Struct):
    """One delivery. `pop_receipt` changes when the lease is renewed."""

    message_id: str
    pop_receipt: str
    text: str
    dequeue_count: int
    inserted_at: datetime | None
    expires_at: datetime | None
    next_visible_at: datetime | None


class MessageQueue:
    """A queue as the trigger uses it. Errors of Storage other than MessageGone are HttpResponseError or AzureError."""

    def __init__(self, client: QueueClient) -> None:
        self._client = client

    @property
    def name(self) -> str:
        return str(self._client.queue_name)

    @property
    def url(self) -> str:
        return str(self._client.url)

    async def exists(self) -> bool:
        try:
            await self._client.get_queue_properties()
        except ResourceNotFoundError:
            return False
        return True

    async def receive(self, count: int, lease_seconds: int) -> list[ReceivedMessage]:
        """Take up to `count` messages (32 at most) in one call, invisible to others for `lease_seconds`."""
        messages = self._client.receive_messages(
            messages_per_page=count, max_messages=count, visibility_timeout=lease_seconds
        )
        async for page in messages.by_page():
            return [
                ReceivedMessage(
                    message_id=message.id,
                    pop_receipt=str(message.pop_receipt),
                    text=message.content or "",
                    dequeue_count=message.dequeue_count or 0,
                    inserted_at=message.inserted_on,
                    expires_at=message.expires_on,
                    next_visible_at=message.next_visible_on,
                )
                async for message in page
            ]
        return []

    async def delete(self, message: ReceivedMessage) -> None:
        """Delete a message. Raises MessageGone."""
        async with _gone_when_not_ours():
            await self._client.delete_message(message.message_id, message.pop_receipt)

    async def set_visibility(self, message: ReceivedMessage, seconds: float) -> None:
        """Make a message visible again after `seconds`; its pop receipt changes. Raises MessageGone."""
        async with _gone_when_not_ours():
            updated = await self._client.update_message(
                message.message_id, message.pop_receipt, visibility_timeout=int(seconds)
            )
        message.pop_receipt = str(updated.pop_receipt)

    async def send(self, text: str) -> None:
        """Send a message, creating the queue when it is missing."""
        await send_creating_queue(self._client, text)


@asynccontextmanager
async def _gone_when_not_ours() -> AsyncIterator[None]:
    """Name the answers after which the extension leaves a message alone: 404, 409, and 400 PopReceiptMismatch."""
    try:
        yield
    except HttpResponseError as error:
        # The Storage client adds error_code to the exceptions of azure.core: an enumeration of strings.
        code = getattr(error, "error_code", None)
        if error.status_code in {404, 409} or code == StorageErrorCode.POP_RECEIPT_MISMATCH:
            raise MessageGone(error.message) from error
        raise


class QueueWatcher:
    """Wakes the listeners of this host when it puts a message on their queue itself (SharedQueueWatcher)."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Callable[[], None]]] = {}

    def register(self, url: str, wake: Callable[[], None]) -> None:
        self._listeners.setdefault(url, []).append(wake)

    def notify(self, url: str) -> None:
        for wake in self._listeners.get(url, ()):
            wake()
