"""Deadlines: what is left of them, and work that may take no longer."""

from __future__ import annotations

import asyncio

import pytest

from inference.deadline import Deadline
from inference.errors import DeadlineExceeded
from tests.fakes import FakeClock


def test_what_is_left_is_spent_with_the_clock() -> None:
    clock = FakeClock()
    deadline = Deadline.after(5, clock.monotonic)
    clock.advance(2)

    assert deadline.remaining() == 3
    clock.advance(3)
    with pytest.raises(DeadlineExceeded):
        deadline.remaining()


async def test_work_is_waited_for_no_longer_than_is_left() -> None:
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    with pytest.raises(DeadlineExceeded):
        await Deadline.after(0.001).bound(never)
    assert never.cancelled()


async def test_work_is_not_begun_when_nothing_is_left() -> None:
    begun = False

    async def begin() -> None:
        nonlocal begun
        begun = True

    with pytest.raises(DeadlineExceeded):
        await Deadline.after(0).bound(begin())  # a coroutine that nobody awaits would be a warning, so an error here
    assert not begun


async def test_work_in_time_gives_its_value_and_its_own_errors() -> None:
    async def fail() -> None:
        raise LookupError

    assert await Deadline.after(60).bound(asyncio.sleep(0, "done")) == "done"
    with pytest.raises(LookupError):
        await Deadline.after(60).bound(fail())
