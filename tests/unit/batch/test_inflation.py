from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.batch.inflation import Inflater, inflate
from inference.errors import InvalidManifest
from tests.turns import counting_turns

#: Texts as small as nothing, and so even that one byte of gzip stands for a thousand of them.
texts = st.one_of(
    st.binary(max_size=30), st.builds(lambda size: b"x" * size, st.sampled_from([65_535, 65_536, 65_537, 400_000]))
)


def unpack(packed: bytes, size: int) -> bytes:
    inflater = Inflater()
    unpacked = bytearray()
    for start in range(0, len(packed), size):
        inflater.feed(packed[start : start + size])
        while data := inflater.take():
            unpacked += data
    inflater.close()
    return bytes(unpacked)


@given(st.lists(texts, min_size=1, max_size=6), st.sampled_from([1, 7, 100, 1 << 20]))
def test_what_was_packed_comes_out_however_it_arrives(members: list[bytes], size: int) -> None:
    assert unpack(b"".join(map(gzip.compress, members)), size) == b"".join(members)


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_zeros_after_the_last_member_are_padding_and_anything_else_is_a_fault(size: int) -> None:
    packed = gzip.compress(b"a")

    assert unpack(packed + b"\0" * 50_000, size) == b"a"
    with pytest.raises(InvalidManifest, match="not readable gzip"):
        unpack(packed + b"\0\0x", size)


def test_many_small_members_cost_their_number_and_not_its_square(monkeypatch: pytest.MonkeyPatch) -> None:
    given, make = 0, zlib.decompressobj

    class Counting:
        def __init__(self, wbits: int) -> None:
            self._member = make(wbits)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._member, name)

        def decompress(self, data: bytes, most: int) -> bytes:
            nonlocal given
            given += len(data)
            return self._member.decompress(data, most)

    monkeypatch.setattr(zlib, "decompressobj", Counting)
    for number in (2000, 4000):
        given = 0
        assert unpack(gzip.compress(b"") * number, 1 << 20) == b""
        assert given < number * 10_000


async def test_others_have_their_turns_while_members_of_nothing_are_unpacked() -> None:
    packed = gzip.compress(b"") * 10_000

    async def chunks() -> AsyncIterator[bytes]:
        yield packed

    with counting_turns() as turns:
        assert [data async for data in inflate(chunks())] == []

    assert turns.count >= len(packed) // 10_000
