"""Owns the unpacking of gzip as a stream, a slice at a time, so that a bomb costs no memory.

It refuses other packings: what does not begin as gzip passes through unchanged.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterable, AsyncIterator

from inference.errors import InvalidManifest

_GZIP_MAGIC = b"\x1f\x8b"
#: Bytes unpacked at a time.
_SLICE_BYTES = 64 * 1024
#: Packed bytes given to zlib at a time.
_PACKED_SLICE_BYTES = 8 * 1024


async def inflate(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Yield `chunks` as they are, or what they unpack to when they are gzip; a bomb unpacks a slice at a time."""
    head, inflater = b"", None
    is_known = False
    async for chunk in chunks:
        if not is_known:
            head += chunk
            if len(head) < len(_GZIP_MAGIC):
                continue
            chunk, is_known = head, True
            inflater = Inflater() if head.startswith(_GZIP_MAGIC) else None
        if inflater is None:
            yield chunk
            continue
        for start in range(0, len(chunk), _PACKED_SLICE_BYTES):
            inflater.feed(chunk[start : start + _PACKED_SLICE_BYTES])
            while data := inflater.take():
                yield data
            await asyncio.sleep(0)  # who takes the data lets others run, but of members of nothing there is none
    if not is_known:
        yield head
    elif inflater is not None:
        inflater.close()


class Inflater:
    """Unpacks gzip, also several members in a row, never more than a slice at once."""

    def __init__(self) -> None:
        self._packed = memoryview(b"")
        #: Whether zlib may hold back what had no room in the last slice.
        self._holds_more = False
        self._member = zlib.decompressobj(wbits=31)

    def feed(self, packed: bytes) -> None:
        """Take the next packed bytes, when the last ones are used up."""
        self._packed = memoryview(packed)

    def take(self) -> bytes:
        """Return the next unpacked bytes; none when more packed ones are needed. Raises InvalidManifest."""
        while self._packed or self._holds_more:
            # zlib copies what it does not use: of a slice, or tiny members would cost the square of their number.
            given = self._packed[:_PACKED_SLICE_BYTES]
            if self._member.eof:
                # Padding with zeros after the last member is what tar and some uploaders leave; gzip skips it too.
                padding = len(given) - len(bytes(given).lstrip(b"\0"))
                if padding:
                    self._packed = self._packed[padding:]
                    continue
                self._member = zlib.decompressobj(wbits=31)
            try:
                data = self._member.decompress(given, _SLICE_BYTES)
            except zlib.error as exc:
                raise InvalidManifest(f"The manifest is not readable gzip ({exc}).") from None
            left = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            self._packed = self._packed[len(given) - len(left) :]
            self._holds_more = len(data) == _SLICE_BYTES and not self._member.eof
            if data:
                return data
        return b""

    def close(self) -> None:
        """Check that the last member is whole. Raises InvalidManifest."""
        if not self._member.eof:
            raise InvalidManifest("The manifest is not readable gzip (it ends early).")
