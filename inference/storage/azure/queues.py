"""A queue of the account to send to.

It refuses to receive: that is the Functions host's part.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Awaitable, Callable

from azure.core.exceptions import ResourceExistsError
from azure.core.rest import HttpRequest
from azure.storage.queue.aio import QueueClient

from inference.storage import MAX_DELAY_SECONDS, MAX_MESSAGE_BYTES, HiddenMessage
from inference.storage.azure.errors import MessageGone, QueueNotFound, read_error_code, translate_errors

#: The service's word for "never"; messages would otherwise be gone after seven days.
_NEVER_EXPIRES = -1


class AzureMessageQueue:
    """A HidingQueue over the SDK's client."""

    def __init__(self, client: QueueClient) -> None:
        self._client = client
        # With a shared access signature, that is the url's query.
        self._url, mark, query = client.url.partition("?")
        self._query = mark + query

    async def send(self, body: bytes, *, delay_seconds: float = 0) -> None:
        """Put a message; the queue is made when it is missing."""
        await self._in_the_queue(lambda: self._send(body, _whole_seconds(body, delay_seconds)))

    async def send_hidden(self, body: bytes, *, delay_seconds: float) -> HiddenMessage:
        """Put a message whose delay `show` can end; by the SDK, as these are few."""
        seconds = _whole_seconds(body, delay_seconds)

        async def send() -> HiddenMessage:
            with translate_errors():
                sent = await self._client.send_message(
                    _encode(body), visibility_timeout=seconds, time_to_live=_NEVER_EXPIRES
                )
            return HiddenMessage(str(sent.id), str(sent.pop_receipt))

        return await self._in_the_queue(send)

    async def show(self, message: HiddenMessage) -> bool:
        """End the delay of a message; its body stays."""
        try:
            with translate_errors():
                await self._client.update_message(message.id, message.pop_receipt, visibility_timeout=0)
        except (MessageGone, QueueNotFound):
            return False
        return True

    async def approximate_count(self) -> int:
        """Return about how many messages there are; none in a queue that does not exist."""
        try:
            with translate_errors():
                properties = await self._client.get_queue_properties()
        except QueueNotFound:
            return 0
        return properties.approximate_message_count or 0

    async def _in_the_queue[T](self, send: Callable[[], Awaitable[T]]) -> T:
        try:
            return await send()
        except QueueNotFound:
            await self.create()
            return await send()

    async def _send(self, body: bytes, delay_seconds: int) -> None:
        """Put a message by a request of our own. Source: learn.microsoft.com/rest/api/storageservices/put-message.

        The SDK's models around the same request are a third of its CPU, and a manifest of a million images is ten
        thousand messages.
        """
        request = HttpRequest(
            "POST",
            f"{self._url}/messages{self._query}",
            params={"visibilitytimeout": str(delay_seconds), "messagettl": str(_NEVER_EXPIRES)},
            headers={"x-ms-version": self._client.api_version, "Content-Type": "application/xml"},
            content=f"<QueueMessage><MessageText>{_encode(body)}</MessageText></QueueMessage>".encode(),
        )
        with translate_errors():
            # The SDK's own seam to its pipeline (identity, retries), as for listings.
            response = await self._client._client.send_request(request)
            response.raise_for_status()

    async def create(self) -> None:
        """Make the queue unless it is there."""
        with translate_errors():
            try:
                await self._client.create_queue()
            except ResourceExistsError as exc:
                if read_error_code(exc) != "QueueAlreadyExists":  # QueueBeingDeleted: nothing to do but wait
                    raise


def _encode(body: bytes) -> str:
    """Return the text of a message in the encoding that the host takes by default."""
    return base64.b64encode(body).decode()


def _whole_seconds(body: bytes, delay_seconds: float) -> int:
    """Return the delay as the service takes it. Raises ValueError for what a queue cannot take."""
    if len(body) > MAX_MESSAGE_BYTES or not 0 <= delay_seconds <= MAX_DELAY_SECONDS:
        raise ValueError(f"a queue cannot take {len(body)} bytes delayed by {delay_seconds} s")
    return math.ceil(delay_seconds)
