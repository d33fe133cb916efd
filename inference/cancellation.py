"""Tells a caller that has left from work that was given up, because the process ends; it refuses to cancel anything."""

from __future__ import annotations

import asyncio

from inference.errors import ShuttingDown


def has_caller_left() -> bool:
    """Tell whether the running task itself is being cancelled, and not only what it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def shared[T](work: asyncio.Future[T]) -> T:
    """Wait for work that others may wait for, too: a caller that leaves does not end it.

    Raises ShuttingDown when somebody else has ended it, which is no cancellation of the caller.
    """
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        if has_caller_left():
            raise
        raise ShuttingDown from None
