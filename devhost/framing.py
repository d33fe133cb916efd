"""Owns the frames on the socket between host and worker: a JSON header and a raw body.

It knows nothing of what a header means, so that image bytes are never encoded, only copied once.
"""

import asyncio
import struct
from collections.abc import Iterable
from typing import Any, cast

import orjson

Header = dict[str, Any]

_PREFIX = struct.Struct("!IQ")  # header bytes, body bytes


def encode_frame(header: Header, body: Iterable[bytes] = ()) -> list[bytes]:
    """Return the buffers of one frame, for a gathering write.

    >>> b"".join(encode_frame({"op": "x"}, [b"ab"]))[12:]
    b'{"op":"x"}ab'
    """
    attachments = list(body)
    encoded = orjson.dumps(header)
    prefix = _PREFIX.pack(len(encoded), sum(map(len, attachments)))
    return [prefix + encoded, *attachments]


class FrameProtocol(asyncio.Protocol):
    """Cuts the byte stream into frames; a subclass takes them in `frame_received`."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._needed = _PREFIX.size

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def send(self, header: Header, body: Iterable[bytes] = ()) -> None:
        """Queue one frame for sending; a frame for a peer that is gone is dropped."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.writelines(encode_frame(header, body))

    def frame_received(self, header: Header, body: memoryview) -> None:
        """Take one whole frame. The body is valid for as long as it is referenced."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        self._chunks.append(data)
        self._buffered += len(data)
        # Chunks of a large frame are joined once, when the last one is here: joining at each arrival is quadratic.
        if self._buffered < self._needed:
            return
        stream = memoryview(b"".join(self._chunks) if len(self._chunks) > 1 else data)
        consumed = self._deliver_whole_frames(stream)
        self._buffered = len(stream) - consumed
        self._chunks = [bytes(stream[consumed:])] if self._buffered else []

    def _deliver_whole_frames(self, stream: memoryview) -> int:
        offset = 0
        while True:
            available = len(stream) - offset
            if available < _PREFIX.size:
                self._needed = _PREFIX.size
                return offset
            header_bytes, body_bytes = _PREFIX.unpack_from(stream, offset)
            self._needed = _PREFIX.size + header_bytes + body_bytes
            if available < self._needed:
                return offset
            start = offset + _PREFIX.size
            middle, offset = start + header_bytes, offset + self._needed
            self.frame_received(orjson.loads(stream[start:middle]), stream[middle:offset])
