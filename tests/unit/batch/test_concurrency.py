from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from inference.batch.concurrency import for_each


async def test_each_thing_is_met_once_and_no_more_at_once_than_the_bound() -> None:
    met: list[int] = []
    running = most = 0

    async def meet(thing: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        met.append(thing)

    async def things() -> AsyncIterator[int]:
        for thing in range(50):
            yield thing

    await for_each(things(), meet, limit=4)
    await for_each(range(50, 60), meet, limit=4)

    assert sorted(met) == list(range(60))
    assert most == 4


async def test_the_first_failure_ends_the_others_and_is_raised_as_itself() -> None:
    ended: list[int] = []

    async def fail_at_two(thing: int) -> None:
        if thing == 2:
            raise KeyError(thing)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(thing)

    with pytest.raises(KeyError):
        await for_each(range(100), fail_at_two, limit=3)

    assert sorted(ended) == [0, 1]
