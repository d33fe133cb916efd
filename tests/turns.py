"""Turns of the event loop: how often others come to run beside what is tested."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """How many there were."""

    def __init__(self) -> None:
        self.count = 0

    async def take(self) -> None:
        """Take one after the other, until cancelled."""
        while True:
            self.count += 1
            await asyncio.sleep(0)


@contextmanager
def counting_turns() -> Iterator[Turns]:
    """Have a task beside this one take its turns, and count them."""
    turns = Turns()
    taking = asyncio.ensure_future(turns.take())
    try:
        yield turns
    finally:
        taking.cancel()
