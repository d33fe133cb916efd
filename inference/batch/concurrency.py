"""Owns doing many small things at once with a bound; it refuses to hold their results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable

#: Storage calls under way at once for one message: the account's latency is hidden, its limits are far.
STORAGE_CALLS = 16


async def for_each[T](
    things: Iterable[T] | AsyncIterable[T], action: Callable[[T], Awaitable[object]], *, limit: int = STORAGE_CALLS
) -> None:
    """Await `action` for each thing, `limit` at once; the first failure ends the others and is raised as itself."""
    running: set[asyncio.Task[object]] = set()
    try:
        async for thing in _iterate(things):
            if len(running) >= limit:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                _raise_first(done)
            running.add(asyncio.ensure_future(_await(action(thing))))
        while running:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            _raise_first(done)
    finally:
        await end(running)


async def end(tasks: Iterable[asyncio.Task[object]]) -> None:
    """Cancel tasks and wait until they have ended; what they raise is of no interest any more."""
    left = list(tasks)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def _await(awaitable: Awaitable[object]) -> object:
    return await awaitable


async def _iterate[T](things: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(things, AsyncIterable):
        async for thing in things:
            yield thing
        return
    for thing in things:
        yield thing


def _raise_first(done: set[asyncio.Task[object]]) -> None:
    failures = [failure for task in done if (failure := task.exception())]  # each is looked at, or asyncio complains
    if failures:
        raise failures[0]
