"""Owns waiting for a time that an event may cut short; the listeners take it as a parameter, so that tests own time."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

Sleep = Callable[[float, asyncio.Event], Awaitable[None]]


async def sleep_until_set(seconds: float, event: asyncio.Event) -> None:
    """Wait for `seconds` or until `event` is set, whichever comes first."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
