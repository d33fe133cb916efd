"""Compressed request bodies and replies: gzip and deflate, the two that clients of the inference protocol know.

It refuses to inflate a body beyond the limit of bodies.
"""

from __future__ import annotations

import asyncio
import codecs
import zlib
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from inference.errors import InvalidRequest, PayloadTooLarge, UnsupportedMediaType
from inference.http.messages import Request
from inference.settings import RequestLimits

#: zlib's wbits. "deflate" is the zlib format: RFC 9110, section 8.4.1.2, and so do Triton's clients understand it.
_FORMATS: Final[Mapping[str, int]] = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}

#: "x-gzip" is gzip: RFC 9110, section 8.4.1.3.
_ALIASES: Final[Mapping[str, str]] = {"x-gzip": "gzip"}

#: A body of many has some KB in each; one of nothing takes 20 bytes, and as long as 4 KB do.
_MAX_MEMBERS: Final = 10_000
#: Packed bytes given to zlib at a time, which copies what it does not use: or members would cost their number's square.
_SLICE_BYTES: Final = 8 * 1024

#: Tensors of floats shrink little whatever the level, and level 1 is several times as fast as the default.
_LEVEL = 1

#: Below it the header of a compressed reply eats what compression saves: one network packet.
MIN_REPLY_BYTES = 1400


def check_size(request: Request, limits: RequestLimits) -> None:
    """Raise PayloadTooLarge for a body over the limit."""
    if len(request.body) > limits.max_body_bytes:
        raise PayloadTooLarge(f"The body has more than {limits.max_body_bytes} bytes.")


def unpack(request: Request, limits: RequestLimits) -> Request:
    """Return the request with its body as it was before `Content-Encoding`, without a byte order mark.

    Windows writes one before text, which JSON does not allow (RFC 8259, section 8.1, lets readers pass over it). Raises
    InvalidRequest, UnsupportedMediaType, and PayloadTooLarge for a body over the limit, packed or not.
    """
    check_size(request, limits)
    body, headers = request.body, request.headers
    if encoding := headers.get("content-encoding"):
        body = decompress(body, encoding, limits.max_body_bytes)
        headers = {name: value for name, value in headers.items() if name != "content-encoding"}
    body = body.removeprefix(codecs.BOM_UTF8)
    return request if body is request.body else replace(request, body=body, headers=headers)


async def unpacked(request: Request, limits: RequestLimits) -> Request:
    """As `unpack`, which inflates on a thread: of a few KB it may make so much that others would wait for it."""
    if not request.headers.get("content-encoding"):
        return unpack(request, limits)
    return await asyncio.to_thread(unpack, request, limits)


def decompress(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return the body as it was before `Content-Encoding`; of gzip, what all its members hold.

    Raises UnsupportedMediaType for other encodings, InvalidRequest for broken data, PayloadTooLarge for a body that
    has more than `max_bytes` then, or more members than anyone writes.
    """
    encoding = encoding.strip().lower()
    encoding = _ALIASES.get(encoding, encoding)
    if encoding in ("", "identity"):
        return body
    if encoding not in _FORMATS:
        raise UnsupportedMediaType("The body's Content-Encoding is not taken; send gzip, deflate or none.")
    inflater = zlib.decompressobj(_FORMATS[encoding])
    try:
        inflated = inflater.decompress(body, max_bytes + 1)
        if len(inflated) <= max_bytes and inflater.unused_data and encoding == "gzip":
            inflated, inflater = _join_members(inflated, inflater.unused_data, max_bytes + 1)
    except zlib.error:
        raise InvalidRequest(f"The body is not {encoding}.") from None
    if len(inflated) > max_bytes:
        raise PayloadTooLarge(f"The body has more than {max_bytes} bytes when it is decompressed.")
    if not inflater.eof or inflater.unused_data:
        raise InvalidRequest(f"The body is not one whole {encoding} stream.")
    return inflated


def _join_members(first: bytes, packed: bytes, most: int) -> tuple[bytes, zlib._Decompress]:
    """Return the first member's bytes with those of the further ones, `most` in all, and what the last was read with.

    Source: RFC 1952, section 2.2. Raises zlib.error for what is no member, PayloadTooLarge for too many.
    """
    parts, room, left = [first], most - len(first), memoryview(packed)
    for _ in range(1, _MAX_MEMBERS):
        member = zlib.decompressobj(_FORMATS["gzip"])
        while left and room and not member.eof:
            given = left[:_SLICE_BYTES]
            parts.append(member.decompress(given, room))
            room -= len(parts[-1])
            left = left[len(given) - len(member.unused_data) :]
        if not (left and room):
            return b"".join(parts), member
    raise PayloadTooLarge(f"The body has more than {_MAX_MEMBERS} gzip members.")


def compress(body: bytes, encoding: str) -> bytes:
    """Return the body in an encoding that `choose_encoding` gave."""
    return zlib.compress(body, _LEVEL, _FORMATS[encoding])


def choose_encoding(accepted: str) -> str | None:
    """Return the encoding of a reply that `Accept-Encoding` asks for; None: as it is.

    A bare `*` is no wish: many clients send it that could not read the reply.
    """
    weights: dict[str, float] = {}
    for entry in accepted.lower().split(","):
        name, _, parameter = entry.partition(";")
        weights[name.strip()] = _weight(parameter)
    best = max(_FORMATS, key=lambda name: weights.get(name, 0.0))
    return best if weights.get(best, 0.0) > 0 else None


def _weight(parameter: str) -> float:
    key, _, value = parameter.strip().partition("=")
    if key.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
