"""What every MessageQueue does, held against the fake and against Azurite."""

from __future__ import annotations

import pytest

from inference.storage import MAX_DELAY_SECONDS, MAX_MESSAGE_BYTES, HiddenMessage, HidingQueue, MessageQueue
from tests.storage.conftest import Storage


async def test_a_queue_that_does_not_exist_is_empty(queue: MessageQueue) -> None:
    assert await queue.approximate_count() == 0


async def test_messages_are_counted_also_while_they_are_hidden(queue: MessageQueue) -> None:
    await queue.send(b"now")
    await queue.send(b"later", delay_seconds=0.2)
    await queue.send(b"last", delay_seconds=MAX_DELAY_SECONDS)

    assert await queue.approximate_count() == 3


async def test_the_longest_body_fits_and_a_longer_one_is_refused(queue: MessageQueue) -> None:
    await queue.send(b"x" * MAX_MESSAGE_BYTES)

    with pytest.raises(ValueError, match="49153"):
        await queue.send(b"x" * (MAX_MESSAGE_BYTES + 1))
    assert await queue.approximate_count() == 1


@pytest.mark.parametrize("delay_seconds", [-1, MAX_DELAY_SECONDS + 1, float("nan")])
async def test_a_delay_that_the_service_does_not_know_is_refused(queue: MessageQueue, delay_seconds: float) -> None:
    with pytest.raises(ValueError, match="delayed"):
        await queue.send(b"x", delay_seconds=delay_seconds)


async def test_a_hidden_message_is_shown_as_long_as_it_is_there(queue: HidingQueue) -> None:
    hidden = await queue.send_hidden(b"x", delay_seconds=MAX_DELAY_SECONDS)

    assert await queue.show(hidden)
    assert not await queue.show(hidden)  # by a receipt that is not the last any more
    assert not await queue.show(HiddenMessage("00000000-0000-0000-0000-000000000000", hidden.pop_receipt))
    assert await queue.approximate_count() == 1


async def test_queues_are_apart(storage: Storage, unique_name: str) -> None:
    await storage.queue(unique_name).send(b"x")

    assert await storage.queue(f"{unique_name}-other").approximate_count() == 0
    assert await storage.queue(unique_name).approximate_count() == 1
