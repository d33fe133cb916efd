"""Content-Encoding and Accept-Encoding."""

from __future__ import annotations

import gzip
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.errors import InvalidRequest, PayloadTooLarge, UnsupportedMediaType
from inference.http.compression import choose_encoding, compress, decompress


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
