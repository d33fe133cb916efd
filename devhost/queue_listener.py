"""Owns the polling loop of one queue trigger: the Storage extension's QueueListener, step by step.

What becomes of a message is the processor's part.
"""

import asyncio

from devhost import console
from devhost.host_json import QueueOptions
from devhost.polling_backoff import PollingBackoff
from devhost.queue_messages import MessageQueue, ReceivedMessage
from devhost.queue_processor import LEASE_SECONDS, QueueProcessor
from devhost.waiting import Sleep, sleep_until_set


class QueueListener:
    """Polls one queue for one function until it is stopped; no answer of Storage ends it."""

    def __init__(
        self,
        queue: MessageQueue,
        processor: QueueProcessor,
        options: QueueOptions,
        *,
        lease_seconds: int = LEASE_SECONDS,
        sleep: Sleep = sleep_until_set,
    ) -> None:
        self._queue = queue
        self._processor = processor
        self._options = options
        self._lease_seconds = lease_seconds
        self._backoff = PollingBackoff(options.max_polling_interval_seconds)
        self._sleep = sleep
        self._processing: set[asyncio.Task[None]] = set()
        self._queue_exists = False
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._loop = asyncio.create_task(self._poll_until_stopped())

    def notify(self) -> None:
        """End the present back-off: this host has just put a message on the queue."""
        self._wake.set()

    def stop_polling(self) -> None:
        """Receive no more messages; those being processed go on."""
        self._stopping.set()
        self._wake.set()

    async def stop(self) -> None:
        """Stop polling and wait for the messages in process."""
        self.stop_polling()
        if self._loop is not None:
            await self._loop
        while self._processing:
            await asyncio.wait(self._processing)

    async def _poll_until_stopped(self) -> None:
        while not self._stopping.is_set():
            found = await self._poll()
            if found:
                await self._wait_for_capacity()
                self._backoff.next_delay_seconds(found_something=True)
                continue
            delay = self._backoff.next_delay_seconds(found_something=False)
            await self._sleep(delay, self._wake)
            if not self._stopping.is_set():
                self._wake.clear()

    async def _poll(self) -> bool:
        """Receive a batch and start a task for each message; say whether there was any."""
        try:
            if not self._queue_exists:
                self._queue_exists = await self._queue.exists()
                if not self._queue_exists:
                    return False
            messages = await self._queue.receive(self._options.batch_size, self._lease_seconds)
        except Exception as error:
            # Whatever Storage or the network answers, the listener backs off and asks again.
            self._queue_exists = False
            console.log(f"Polling queue '{self._queue.name}' failed: {str(error).partition(chr(10))[0]}")
            return False
        for message in messages:
            task = asyncio.create_task(self._process(message))
            self._processing.add(task)
            task.add_done_callback(self._processing.discard)
        return bool(messages)

    async def _wait_for_capacity(self) -> None:
        """Wait until no more than newBatchThreshold messages are in process."""
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            while len(self._processing) > self._options.new_batch_threshold and not self._stopping.is_set():
                await asyncio.wait([*self._processing, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()

    async def _process(self, message: ReceivedMessage) -> None:
        try:
            await self._processor.process(message)
        except Exception as error:
            # As on the real host: reported, and the message reappears when its lease ends.
            console.log(f"Processing message {message.message_id} of '{self._queue.name}' failed: {error!r}")
