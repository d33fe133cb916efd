"""Owns what happens to one queue message: invoke, renew the lease meanwhile, then delete, release or move to poison.

The steps are those of the Storage extension's QueueProcessor and UpdateQueueMessageVisibilityCommand.
"""

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime

from azure.core.exceptions import AzureError

from devhost import console
from devhost.binding_expressions import json_properties
from devhost.functions import Function
from devhost.host_json import QueueOptions
from devhost.invoker import Invoke, Occasion
from devhost.messages import Outcome, Value
from devhost.queue_messages import MessageGone, MessageQueue, ReceivedMessage
from devhost.waiting import Sleep, sleep_until_set

#: The extension's constant lease; host.json's visibilityTimeout does not touch it.
LEASE_SECONDS = 10 * 60

#: A renewal that Storage refused is tried again after half the time, but not sooner than this share of the lease
#: (the extension's floor is one minute of ten).
MINIMUM_RENEWAL_SHARE = 0.1

#: What Convert.FromBase64String passes over: `base64 < file` ends with a line feed, and breaks long lines.
_BASE64_SPACE = re.compile(r"[ \t\r\n]+")


class QueueProcessor:
    """Handles the messages of one queue for one function. `poison` is None for a queue that has no poison queue."""

    def __init__(
        self,
        function: Function,
        queue: MessageQueue,
        poison: MessageQueue | None,
        options: QueueOptions,
        invoke: Invoke,
        *,
        lease_seconds: int = LEASE_SECONDS,
        poisoned: Callable[[str], None] = lambda _url: None,
        sleep: Sleep = sleep_until_set,
    ) -> None:
        self._function = function
        self._queue = queue
        self._poison = poison
        self._options = options
        self._invoke = invoke
        self._lease_seconds = lease_seconds
        self._poisoned = poisoned
        self._sleep = sleep

    async def process(self, message: ReceivedMessage) -> None:
        """See one delivery through. An error of Storage is raised: the message then waits for the end of its lease."""
        body = self._decode(message)
        if body is None:
            # The extension's MessageDecodingFailed handler: to poison at the first delivery, without the function.
            console.log(f"Message {message.message_id} of queue '{self._queue.name}' is not valid base64.")
            await self._move_to_poison(message)
        elif message.dequeue_count > self._options.max_dequeue_count and self._poison is not None:
            await self._move_to_poison(message)
        else:
            outcome = await self._invoke_renewing(message, body)
            await self._complete(message, outcome)

    def _decode(self, message: ReceivedMessage) -> bytes | None:
        if not self._options.is_base64:
            return message.text.encode()
        try:
            return base64.b64decode(_BASE64_SPACE.sub("", message.text), validate=True)
        except ValueError:
            return None

    async def _invoke_renewing(self, message: ReceivedMessage, body: bytes) -> Outcome:
        ended = asyncio.Event()
        renewal = asyncio.create_task(self._keep_lease(message, ended))
        try:
            return await self._invoke(self._function, make_occasion(self._function, message, body))
        finally:
            ended.set()
            # Waited for, not cancelled: a renewal under way may have changed the receipt that deletes the message.
            await renewal

    async def _keep_lease(self, message: ReceivedMessage, ended: asyncio.Event) -> None:
        delay = self._lease_seconds / 2
        while True:
            await self._sleep(delay, ended)
            if ended.is_set():
                return
            try:
                await self._queue.set_visibility(message, self._lease_seconds)
                delay = self._lease_seconds / 2
            except MessageGone:
                return
            except AzureError as error:
                console.log(f"Renewing the lease of message {message.message_id} failed: {_first_line(error)}")
                delay = max(delay / 2, self._lease_seconds * MINIMUM_RENEWAL_SHARE)

    async def _complete(self, message: ReceivedMessage, outcome: Outcome) -> None:
        if outcome.succeeded:
            await self._delete(message)
        elif self._poison is None:
            # Not released, to prevent a fast infinite loop: the message stays invisible until its lease ends.
            return
        elif message.dequeue_count >= self._options.max_dequeue_count:
            await self._move_to_poison(message)
        else:
            with contextlib.suppress(MessageGone):
                await self._queue.set_visibility(message, self._options.visibility_timeout_seconds)

    async def _move_to_poison(self, message: ReceivedMessage) -> None:
        if self._poison is None:
            return
        console.log(
            f"Message has reached MaxDequeueCount of {self._options.max_dequeue_count}. "
            f"Moving message to queue '{self._poison.name}'."
        )
        # Copy, then delete, the body only: a crash between the two leaves a duplicate, as on the real host.
        await self._poison.send(message.text)
        self._poisoned(self._poison.url)
        await self._delete(message)

    async def _delete(self, message: ReceivedMessage) -> None:
        with contextlib.suppress(MessageGone):
            await self._queue.delete(message)


def make_occasion(function: Function, message: ReceivedMessage, body: bytes) -> Occasion:
    """Make the trigger's value and metadata of a message, as the real host sends them to a Python worker."""
    text = body.decode(errors="replace")
    is_binary = str(function.trigger.properties.get("dataType", "")).lower() == "binary"
    details = {
        "Id": message.message_id,
        "DequeueCount": message.dequeue_count,
        "PopReceipt": message.pop_receipt,
        "InsertionTime": _iso(message.inserted_at),
        "ExpirationTime": _iso(message.expires_at),
        "NextVisibleTime": _iso(message.next_visible_at),
    }
    metadata: Mapping[str, Value] = {
        **{name: Value("json", json.dumps(value)) for name, value in details.items() if value is not None},
        "QueueTrigger": Value("string", text),
    }
    return Occasion(
        value=Value("bytes", body) if is_binary else Value("string", text),
        trigger_metadata=metadata,
        binding_data={**json_properties(body), **details, "queueTrigger": text},
        reason=f"New queue message detected on '{function.trigger.properties['queueName']}'.",
    )


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
