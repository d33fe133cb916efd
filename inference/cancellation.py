"""Tells a caller that has left from other cancellations; it refuses to cancel anything."""

from __future__ import annotations

import asyncio


def has_caller_left() -> bool:
    """Tell whether the running task itself is being cancelled, and not only what it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
