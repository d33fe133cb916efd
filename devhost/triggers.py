"""Owns the listeners of an app: one for each queue and timer function, started and stopped together."""

import asyncio
from collections.abc import Iterable

from devhost.functions import Function
from devhost.host_json import QueueOptions
from devhost.invoker import Invoker
from devhost.queue_listener import QueueListener
from devhost.queue_messages import MessageQueue, QueueWatcher
from devhost.queue_processor import LEASE_SECONDS, QueueProcessor
from devhost.storage_clients import StorageClients
from devhost.timer_listener import TimerListener

#: Storage's limit for queue names; a longer poison name means that there is no poison queue.
MAX_QUEUE_NAME = 63
POISON_SUFFIX = "-poison"


def poison_name(queue_name: str) -> str | None:
    """Return the name of a queue's poison queue, or None for a queue that has none.

    >>> poison_name("work"), poison_name("work-poison"), poison_name("q" * 60)
    ('work-poison', None, None)
    """
    name = f"{queue_name}{POISON_SUFFIX}"
    return None if queue_name.endswith(POISON_SUFFIX) or len(name) > MAX_QUEUE_NAME else name


class Triggers:
    """Queue and timer listeners of the enabled functions."""

    def __init__(
        self,
        functions: Iterable[Function],
        clients: StorageClients,
        watcher: QueueWatcher,
        invoker: Invoker,
        options: QueueOptions,
        lease_seconds: int = LEASE_SECONDS,
    ) -> None:
        self._clients = clients
        self._watcher = watcher
        self._invoker = invoker
        self._options = options
        self._lease_seconds = lease_seconds
        enabled = [function for function in functions if not function.is_disabled]
        self._queues = [self._queue_listener(f) for f in enabled if f.trigger.type == "queueTrigger"]
        self._timers = [TimerListener(f, invoker.invoke) for f in enabled if f.trigger.type == "timerTrigger"]

    def _queue_listener(self, function: Function) -> QueueListener:
        connection = function.trigger.properties.get("connection")
        name = str(function.trigger.properties["queueName"]).lower()
        queue = MessageQueue(self._clients.queue(connection, name))
        poison = poison_name(name)
        processor = QueueProcessor(
            function,
            queue,
            None if poison is None else MessageQueue(self._clients.queue(connection, poison)),
            self._options,
            self._invoker.invoke,
            lease_seconds=self._lease_seconds,
            poisoned=self._watcher.notify,
        )
        listener = QueueListener(queue, processor, self._options, lease_seconds=self._lease_seconds)
        self._watcher.register(queue.url, listener.notify)
        return listener

    def start(self) -> None:
        for queue in self._queues:
            queue.start()
        for timer in self._timers:
            timer.start()

    def stop_polling(self) -> None:
        """Receive and fire no more; what runs goes on."""
        for queue in self._queues:
            queue.stop_polling()
        for timer in self._timers:
            timer.stop_firing()

    async def stop(self) -> None:
        """Stop, and wait for what runs."""
        queues = [queue.stop() for queue in self._queues]
        await asyncio.gather(*queues, *(timer.stop() for timer in self._timers))

    async def close(self) -> None:
        """Close the Storage clients."""
        await self._clients.close()
