"""Content-Encoding and Accept-Encoding."""

from __future__ import annotations

import asyncio
import gzip
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.errors import InvalidRequest, PayloadTooLarge, UnsupportedMediaType
from inference.http.compression import choose_encoding, compress, decompress, unpacked
from inference.http.messages import Request
from inference.settings import RequestLimits


@given(st.binary(), st.sampled_from(["gzip", "deflate"]))
def test_what_is_compressed_is_decompressed(body: bytes, encoding: str) -> None:
    packed = compress(body, encoding)

    assert decompress(packed, encoding, len(body)) == body
    assert (gzip.decompress(packed) if encoding == "gzip" else zlib.decompress(packed)) == body


@pytest.mark.parametrize("encoding", ["", "identity", " Identity "])
def test_no_encoding_changes_nothing(encoding: str) -> None:
    assert decompress(b"abc", encoding, 0) == b"abc"


@pytest.mark.parametrize("size", [100, 101, 1 << 20])
def test_the_limit_is_that_of_the_inflated_body(size: int) -> None:
    packed = gzip.compress(bytes(size))

    if size <= 100:
        assert len(decompress(packed, "GZIP", 100)) == size
    else:
        with pytest.raises(PayloadTooLarge):
            decompress(packed, "gzip", 100)


@given(st.binary(max_size=100), st.sampled_from(["gzip", "deflate"]))
def test_any_bytes_are_inflated_or_refused(body: bytes, encoding: str) -> None:
    with suppress(InvalidRequest):
        decompress(body, encoding, 1000)


@given(st.binary(max_size=100))
async def test_a_byte_order_mark_is_no_part_of_a_body_packed_or_not(text: bytes) -> None:
    marked = b"\xef\xbb\xbf" + text
    plain = Request("POST", "", body=marked)
    packed = Request("POST", "", headers={"content-encoding": "x-gzip", "x-a": "1"}, body=gzip.compress(marked))

    assert (await unpacked(plain, RequestLimits())).body == text
    assert await unpacked(packed, RequestLimits()) == Request("POST", "", headers={"x-a": "1"}, body=text)


@given(st.lists(st.binary(max_size=100) | st.just(b"x" * 20_000), min_size=1, max_size=5))
def test_a_body_of_several_gzip_members_is_what_they_hold(members: list[bytes]) -> None:
    packed, body = b"".join(map(gzip.compress, members)), b"".join(members)

    assert decompress(packed, "gzip", len(body)) == body
    with pytest.raises(InvalidRequest):
        decompress(packed[:-1], "gzip", len(body))
    with pytest.raises(InvalidRequest):
        decompress(packed + b"x", "gzip", len(body))
    if body:
        with pytest.raises(PayloadTooLarge):
            decompress(packed, "gzip", len(body) - 1)


def test_of_gzip_members_there_may_be_as_many_as_cost_little() -> None:
    member = gzip.compress(b"")

    assert decompress(member * 10_000, "gzip", 0) == b""
    with pytest.raises(PayloadTooLarge):
        decompress(member * 10_001, "gzip", 0)


def test_deflate_has_no_members() -> None:
    with pytest.raises(InvalidRequest):
        decompress(zlib.compress(b"a") * 2, "deflate", 10)


def test_an_unknown_encoding_is_not_guessed() -> None:
    with pytest.raises(UnsupportedMediaType):
        decompress(b"", "zstd", 1)


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("deflate", "deflate"),
        ("deflate, gzip", "gzip"),
        ("gzip;q=0.1, deflate;q=0.2", "deflate"),
        ("gzip; q=0, deflate", "deflate"),
        ("gzip;q=0", None),
        ("gzip;q=x", None),
        ("gzip;level=1", "gzip"),
        ("br, *", None),
    ],
)
def test_the_reply_is_encoded_as_was_asked(accepted: str, encoding: str | None) -> None:
    assert choose_encoding(accepted) == encoding


async def test_a_body_is_inflated_on_a_thread_and_one_that_is_not_packed_needs_none() -> None:
    is_free = threading.Event()
    threads = ThreadPoolExecutor(max_workers=1)
    asyncio.get_running_loop().set_default_executor(threads)
    threads.submit(is_free.wait)  # the only one
    packed = Request("POST", "", {}, headers={"content-encoding": "gzip"}, body=gzip.compress(b"abc"))

    try:
        inflating = asyncio.create_task(unpacked(packed, RequestLimits()))
        plain = await unpacked(Request("POST", "", {}, body=b"abc"), RequestLimits())
        assert not inflating.done()
    finally:
        is_free.set()

    assert plain.body == (await inflating).body == b"abc"
