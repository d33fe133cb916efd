"""Slots per origin: the cap, the order, and that nothing stays behind."""

from __future__ import annotations

import asyncio

import pytest

from inference.errors import DeadlineExceeded
from inference.fetch.slots import OriginSlots


async def test_slots_are_given_in_the_order_asked_for_and_never_more_than_the_cap() -> None:
    slots, order, release = OriginSlots(2), list[int](), asyncio.Event()

    async def fetch(number: int) -> None:
        async with slots.hold("origin", until=None):
            order.append(number)
            await release.wait()

    async with asyncio.TaskGroup() as tasks:
        for number in range(6):
            tasks.create_task(fetch(number))
        async with slots.hold("other origin", until=None):
            await asyncio.sleep(0)  # every task has run up to its wait
            assert order == [0, 1]
            assert len(slots) == 2
        release.set()

    assert order == [0, 1, 2, 3, 4, 5]


async def test_an_origin_that_nobody_uses_is_forgotten() -> None:
    slots = OriginSlots(1)
    for number in range(1000):
        async with slots.hold(number, until=None):
            assert len(slots) == 1

    assert len(slots) == 0


async def test_a_wait_ends_at_its_deadline_and_leaves_the_slot_to_others() -> None:
    slots = OriginSlots(1)

    async with slots.hold("origin", until=None):
        with pytest.raises(DeadlineExceeded):
            async with slots.hold("origin", until=asyncio.get_running_loop().time()):
                pytest.fail("the slot was taken")
        assert len(slots) == 1
    async with slots.hold("origin", until=None):
        assert len(slots) == 1


async def test_a_cancelled_wait_gives_its_place_up() -> None:
    slots, turns = OriginSlots(1), list[str]()

    async def take(name: str) -> None:
        async with slots.hold("origin", until=None):
            turns.append(name)

    async with slots.hold("origin", until=None):
        first, second = asyncio.create_task(take("first")), asyncio.create_task(take("second"))
        await asyncio.sleep(0)
        first.cancel()
    await second
    await asyncio.gather(first, return_exceptions=True)

    assert turns == ["second"]
    assert len(slots) == 0
