"""Queues and containers are there as soon as storage lets them be, whatever happened to the first attempt."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from inference.errors import StorageUnavailable
from inference.services.places import Places


class Account:
    """Makes what it is asked for, once it has failed so often."""

    def __init__(self, **failures: int) -> None:
        self._failures = failures
        self.made: list[str] = []

    async def _make(self, name: str) -> None:
        await asyncio.sleep(0)
        if self._failures[name]:
            self._failures[name] -= 1
            raise StorageUnavailable
        self.made.append(name)

    def places(self, waits: list[float]) -> Places:
        async def wait(seconds: float) -> None:
            waits.append(seconds)
            await asyncio.sleep(0)

        return Places({name: partial(self._make, name) for name in self._failures}, wait)


async def settled(places: Places) -> None:
    """Wait for what goes on in the background."""
    assert places._later is not None
    await places._later


async def test_what_is_missing_is_made_at_the_first_attempt() -> None:
    account, waits = Account(shards=0, finish=0), list[float]()

    await account.places(waits).make()

    assert (account.made, waits) == (["shards", "finish"], [])


async def test_only_what_failed_is_tried_again_until_it_is_there_slower_each_time() -> None:
    account, waits = Account(shards=0, finish=9, results=1), list[float]()
    places = account.places(waits)

    await places.make()
    assert account.made == ["shards"]
    await settled(places)

    assert account.made == ["shards", "results", "finish"]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


async def test_the_log_names_what_could_not_be_made_once_and_that_it_is_there_at_last(
    caplog: pytest.LogCaptureFixture,
) -> None:
    places = Account(shards=3).places([])

    await places.make()
    await settled(places)

    assert [record.message for record in caplog.records] == [
        "shards could not be made: Storage did not answer as it should.",
        "Every queue and container is there now.",
    ]


async def test_a_close_ends_the_attempts() -> None:
    account = Account(shards=1_000_000)
    places = account.places([])
    await places.make()

    await places.close()
    before = account._failures["shards"]
    await asyncio.sleep(0)

    assert account._failures["shards"] == before


async def test_a_second_warm_up_finds_nothing_left_to_make() -> None:
    account = Account(shards=0)
    places = account.places([])

    await places.make()
    await places.make()

    assert account.made == ["shards"]
