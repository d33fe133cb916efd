from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from inference.errors import PayloadTooLarge
from inference.http import batches
from inference.http.batches import collect


async def chunks(*sizes: int) -> AsyncIterator[bytes]:
    for size in sizes:
        yield b"x" * size


async def test_a_reply_is_its_chunks_up_to_what_worker_and_host_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MAX_REPLY_BYTES", 10)

    assert await collect(chunks(4, 6), "do something else") == b"x" * 10
    with pytest.raises(PayloadTooLarge, match=r"; do something else\.$"):
        await collect(chunks(4, 6, 1), "do something else")


async def test_what_lies_past_the_largest_reply_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MAX_REPLY_BYTES", 10)
    endless = chunks(*[4] * 1000)

    with pytest.raises(PayloadTooLarge):
        await collect(endless, "do something else")

    assert [len(chunk) async for chunk in endless] == [4] * 997
