from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from inference.batch.results import read_table
from tests.fakes import FakeBlobStore

ROW = b'{"index":0,"id":"a","url":"https://h/a","status":"succeeded","predictions":[],"attempts":1}\n'


class Announcing(FakeBlobStore):
    """A store that calls for others' turn right before it hands over a block, and then waits for nothing itself."""

    def __init__(self) -> None:
        super().__init__("results")
        self.others_had_their_turn = asyncio.Event()

    async def stream(self, name: str, *, if_match: str | None = None) -> AsyncIterator[bytes]:
        async for chunk in super().stream(name, if_match=if_match):
            asyncio.get_running_loop().call_soon(self.others_had_their_turn.set)
            yield chunk


async def test_while_the_rows_of_a_block_are_written_as_a_table_others_have_their_turn() -> None:
    results = Announcing()
    await results.write("b/results.jsonl", ROW)

    table = await anext(aiter(read_table(results, "b")))

    assert table.endswith(b"0,a,https://h/a,succeeded,,,,,1,,,[]\r\n")
    assert results.others_had_their_turn.is_set()
