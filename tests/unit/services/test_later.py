"""Parts that are built when they are first needed."""

import asyncio
import threading

import pytest

from inference.imports import importing
from inference.services.later import Later


class Builder:
    """Builds a part when the test lets it."""

    def __init__(self) -> None:
        self.builds = 0
        self.began, self.may_end = threading.Event(), threading.Event()
        self.failures: list[Exception] = []

    def build(self) -> str:
        self.builds += 1
        self.began.set()
        self.may_end.wait(120)
        if self.failures:
            raise self.failures.pop()
        return "part"


async def test_callers_that_come_together_share_one_part() -> None:
    builder = Builder()
    builder.may_end.set()
    part = Later(builder.build)

    assert [*await asyncio.gather(part.get(), part.get(), part.get())] == ["part"] * 3
    assert (await part.get(), builder.builds) == ("part", 1)


async def test_a_caller_that_leaves_does_not_have_it_built_twice() -> None:
    builder = Builder()
    part = Later(builder.build)
    leaving = asyncio.create_task(part.get())
    await asyncio.to_thread(builder.began.wait, 120)
    leaving.cancel()
    staying = asyncio.create_task(part.get())
    builder.may_end.set()

    assert await staying == "part"
    assert builder.builds == 1
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_a_failure_is_not_remembered() -> None:
    builder = Builder()
    builder.may_end.set()
    builder.failures = [OSError("no room")]
    part = Later(builder.build)

    with pytest.raises(OSError, match="no room"):
        await part.get()
    assert await part.settled() is None
    assert await part.get() == "part"


async def test_what_is_being_built_at_the_end_is_waited_for() -> None:
    builder = Builder()
    part = Later(builder.build)
    assert await part.settled() is None
    building = asyncio.create_task(part.get())
    await asyncio.to_thread(builder.began.wait, 120)
    ending = asyncio.create_task(part.settled())
    builder.may_end.set()

    assert (await ending, await building) == ("part", "part")


async def test_a_part_waits_for_what_other_threads_import() -> None:
    builder = Builder()
    builder.may_end.set()
    part = Later(builder.build)
    with importing():
        building = asyncio.create_task(part.get())
        assert not await asyncio.to_thread(builder.began.wait, 0.05)
    assert await building == "part"


async def test_a_part_is_built_when_what_it_begins_with_is_done() -> None:
    builder = Builder()
    builder.may_end.set()
    failures = [OSError("not yet")]
    done = asyncio.Event()

    async def begin() -> None:
        if failures:
            raise failures.pop()
        await done.wait()

    part = Later(builder.build, begin=begin)
    with pytest.raises(OSError, match="not yet"):
        await part.get()
    building = asyncio.create_task(part.get())
    for _ in range(3):
        await asyncio.sleep(0)
    assert not builder.began.is_set()
    done.set()

    assert (await building, builder.builds) == ("part", 1)
