"""The queue trigger's parts on real queues, with time in the test's hands: renewal, back-off, waking."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from devhost.functions import Binding, Function
from devhost.host_json import QueueOptions
from devhost.invoker import Occasion
from devhost.messages import Outcome
from devhost.queue_listener import QueueListener
from devhost.queue_messages import MessageGone, MessageQueue, QueueWatcher, ReceivedMessage
from devhost.queue_processor import QueueProcessor
from devhost.triggers import poison_name
from devhost.worker_pool import restart_delay

Invoke = Callable[[Function, Occasion], Awaitable[Outcome]]

FUNCTION = Function("work", "id", (Binding("queueTrigger", "message", "IN", {"queueName": "work"}),))


@pytest.fixture
async def client(azurite: str, unique: str) -> AsyncIterator[QueueClient]:
    async with QueueServiceClient.from_connection_string(azurite) as service:
        yield service.get_queue_client(unique)


async def succeed(_function: Function, _occasion: Occasion) -> Outcome:
    return Outcome(True)


async def receive_one(queue: MessageQueue, lease_seconds: int = 600) -> ReceivedMessage:
    (message,) = await queue.receive(1, lease_seconds)
    return message


async def test_the_lease_is_renewed_at_half_time_and_the_new_receipt_deletes_the_message(client: QueueClient) -> None:
    await client.create_queue()
    await client.send_message(b64encode(b"x").decode())
    queue, delays, renewals = MessageQueue(client), list[float](), asyncio.Semaphore(0)

    async def sleep(seconds: float, ended: asyncio.Event) -> None:
        delays.append(seconds)
        if len(delays) > 3:
            renewals.release()
            await ended.wait()

    async def run_until_renewed(_function: Function, _occasion: Occasion) -> Outcome:
        await renewals.acquire()
        return Outcome(True)

    message = await receive_one(queue)
    first_receipt = message.pop_receipt
    processor = QueueProcessor(FUNCTION, queue, None, QueueOptions(), run_until_renewed, lease_seconds=600, sleep=sleep)
    await processor.process(message)

    assert delays == [300.0] * 4
    assert message.pop_receipt != first_receipt
    assert (await client.get_queue_properties()).approximate_message_count == 0


async def test_a_message_that_another_host_has_taken_is_left_to_it(client: QueueClient) -> None:
    await client.create_queue()
    await client.send_message(b64encode(b"x").decode())
    queue = MessageQueue(client)
    ours = await receive_one(queue)
    await client.update_message(ours.message_id, ours.pop_receipt, visibility_timeout=0)
    theirs = await receive_one(queue)

    with pytest.raises(MessageGone):
        await queue.delete(ours)
    await QueueProcessor(FUNCTION, queue, None, QueueOptions(), succeed).process(ours)

    assert (await client.get_queue_properties()).approximate_message_count == 1
    await queue.delete(theirs)


async def test_renewal_ends_for_good_when_the_message_is_no_longer_ours(client: QueueClient) -> None:
    await client.create_queue()
    await client.send_message(b64encode(b"x").decode())
    queue, delays = MessageQueue(client), list[float]()
    message = await receive_one(queue)
    await client.delete_message(message.message_id, message.pop_receipt)

    async def sleep(seconds: float, _ended: asyncio.Event) -> None:
        delays.append(seconds)

    async def run_until_renewal_has_ended(_function: Function, _occasion: Occasion) -> Outcome:
        renewal = next(task for task in asyncio.all_tasks() if "_keep_lease" in repr(task.get_coro()))
        await asyncio.wait([renewal])
        return Outcome(True)

    processor = QueueProcessor(FUNCTION, queue, None, QueueOptions(), run_until_renewal_has_ended, sleep=sleep)
    await processor.process(message)

    assert delays == [300.0]


async def test_a_renewal_under_way_when_the_function_ends_does_not_lose_the_message(client: QueueClient) -> None:
    await client.create_queue()
    await client.send_message(b64encode(b"x").decode())
    queue, renewing = MessageQueue(client), asyncio.Event()

    async def sleep(_seconds: float, ended: asyncio.Event) -> None:
        if renewing.is_set():
            await ended.wait()
        renewing.set()  # the renewal's request goes out at this very turn of the loop

    async def end_as_soon_as_it_renews(_function: Function, _occasion: Occasion) -> Outcome:
        await renewing.wait()
        return Outcome(True)

    message = await receive_one(queue)
    processor = QueueProcessor(FUNCTION, queue, None, QueueOptions(), end_as_soon_as_it_renews, sleep=sleep)
    await processor.process(message)

    assert (await client.get_queue_properties()).approximate_message_count == 0


async def test_the_listener_backs_off_from_a_missing_queue_and_wakes_when_the_host_enqueues(
    client: QueueClient, unique: str
) -> None:
    queue, watcher = MessageQueue(client), QueueWatcher()
    asleep, processed, delays = asyncio.Event(), asyncio.Event(), list[float]()

    async def sleep(seconds: float, wake: asyncio.Event) -> None:
        delays.append(seconds)
        if len(delays) == 3:
            asleep.set()
            await wake.wait()  # would last for ever, were it not for the watcher

    async def process(_function: Function, _occasion: Occasion) -> Outcome:
        processed.set()
        return Outcome(True)

    options = QueueOptions(max_polling_interval_seconds=60.0)
    processor = QueueProcessor(FUNCTION, queue, None, options, process)
    listener = QueueListener(queue, processor, options, sleep=sleep)
    watcher.register(queue.url, listener.notify)
    listener.start()
    await asleep.wait()
    await client.create_queue()
    await client.send_message(b64encode(b"x").decode())
    watcher.notify(f"{queue.url}-other")
    assert not processed.is_set()
    watcher.notify(queue.url)
    await processed.wait()
    await listener.stop()

    assert delays[:3] == sorted(delays[:3])
    assert 0.1 < delays[0] < 0.25 < delays[2]


async def test_stopping_waits_for_the_messages_in_process_and_takes_no_more(client: QueueClient) -> None:
    await client.create_queue()
    for _ in range(3):
        await client.send_message(b64encode(b"x").decode())
    queue, running, release = MessageQueue(client), asyncio.Semaphore(0), asyncio.Event()

    async def process(_function: Function, _occasion: Occasion) -> Outcome:
        running.release()
        await release.wait()
        return Outcome(True)

    options = QueueOptions(batch_size=2, new_batch_threshold=0)
    listener = QueueListener(queue, QueueProcessor(FUNCTION, queue, None, options, process), options)
    listener.start()
    await running.acquire()
    await running.acquire()
    stopping = asyncio.create_task(listener.stop())
    await asyncio.sleep(0)
    assert not stopping.done()
    release.set()
    await stopping

    assert (await client.get_queue_properties()).approximate_message_count == 1


@pytest.mark.parametrize(
    ("queue", "poison"),
    [
        ("work", "work-poison"),
        ("work-poison", None),
        ("q" * 56, "q" * 56 + "-poison"),
        ("q" * 57, None),
    ],
)
def test_a_queue_has_a_poison_queue_when_the_name_allows_it(queue: str, poison: str | None) -> None:
    assert poison_name(queue) == poison


def test_workers_that_die_soon_are_started_ever_later() -> None:
    delays = [restart_delay(deaths) for deaths in range(1, 12)]

    assert delays[:4] == [0.0, 0.25, 0.5, 1.0]
    assert delays == sorted(delays)
    assert delays[-1] == 10.0
