"""A queue of the account to send to.

It refuses to receive: that is the Functions host's part.
"""

from __future__ import annotations

import base64
import math

from azure.core.exceptions import ResourceExistsError
from azure.core.rest import HttpRequest
from azure.storage.queue.aio import QueueClient

from inference.storage import MAX_DELAY_SECONDS, MAX_MESSAGE_BYTES
from inference.storage.azure.errors import QueueNotFound, read_error_code, translate_errors

#: The service's word for "never"; messages would otherwise be gone after seven days.
_NEVER_EXPIRES = -1


class AzureMessageQueue:
    """A MessageQueue over the SDK's client."""

    def __init__(self, client: QueueClient) -> None:
        self._client = client
        # With a shared access signature, that is the url's query.
        self._url, mark, query = client.url.partition("?")
        self._query = mark + query

    async def send(self, body: bytes, *, delay_seconds: float = 0) -> None:
        """Put a message; the queue is made when it is missing."""
        if len(body) > MAX_MESSAGE_BYTES or not 0 <= delay_seconds <= MAX_DELAY_SECONDS:
            raise ValueError(f"a queue cannot take {len(body)} bytes delayed by {delay_seconds} s")
        try:
            await self._send(body, math.ceil(delay_seconds))
        except QueueNotFound:
            await self.create()
            await self._send(body, math.ceil(delay_seconds))

    async def approximate_count(self) -> int:
        """Return about how many messages there are; none in a queue that does not exist."""
        try:
            with translate_errors():
                properties = await self._client.get_queue_properties()
        except QueueNotFound:
            return 0
        return properties.approximate_message_count or 0

    async def _send(self, body: bytes, delay_seconds: int) -> None:
        """Put a message by a request of our own. Source: learn.microsoft.com/rest/api/storageservices/put-message.

        The SDK's models around the same request are a third of its CPU, and a manifest of a million images is ten
        thousand messages.
        """
        text = base64.b64encode(body).decode()  # what host.json's messageEncoding "base64", the default, expects
        request = HttpRequest(
            "POST",
            f"{self._url}/messages{self._query}",
            params={"visibilitytimeout": str(delay_seconds), "messagettl": str(_NEVER_EXPIRES)},
            headers={"x-ms-version": self._client.api_version, "Content-Type": "application/xml"},
            content=f"<QueueMessage><MessageText>{text}</MessageText></QueueMessage>".encode(),
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
