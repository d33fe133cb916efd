"""Owns the frames on the socket between host and worker: a JSON header and a raw body.

It knows nothing of what a header means, so that image bytes are never encoded, only copied.
"""

import asyncio
import struct
from collections.abc import Iterable
from typing import Any, cast

import orjson

Header = dict[str, Any]

_PREFIX = struct.Struct("!IQ")  # header bytes, body bytes

#: The receive buffer at first. It grows to what frames need, and up to the second size it stays: memory that is used
#: again costs no page faults, which are most of the cost of receiving an image.
_FIRST_BUFFER_BYTES = 256 * 1024
_LARGEST_KEPT_BUFFER_BYTES = 8 * 1024 * 1024


def encode_frame(header: Header, body: Iterable[bytes] = ()) -> list[bytes]:
    """Return the buffers of one frame, for a gathering write.

    >>> b"".join(encode_frame({"op": "x"}, [b"ab"]))[12:]
    b'{"op":"x"}ab'
    """
    # None that is empty: asyncio's writelines never takes an empty buffer off its list and writes it for ever, with a
    # whole core (_SelectorSocketTransport._adjust_leftover_buffer of CPython 3.13).
    attachments = [data for data in body if data]
    encoded = orjson.dumps(header)
    prefix = _PREFIX.pack(len(encoded), sum(map(len, attachments)))
    return [prefix + encoded, *attachments]


class FrameProtocol(asyncio.BufferedProtocol):
    """Cuts the byte stream into frames; a subclass takes them in `frame_received`.

    Bytes are received straight into the frame that they belong to.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._kept = memoryview(bytearray(_FIRST_BUFFER_BYTES))
        self._buffer = self._kept
        self._filled = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def send(self, header: Header, body: Iterable[bytes] = ()) -> None:
        """Queue one frame for sending; a frame for a peer that is gone is dropped."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.writelines(encode_frame(header, body))

    def frame_received(self, header: Header, body: memoryview) -> None:
        """Take one whole frame. The body is valid until this method returns: its memory is used again."""
        raise NotImplementedError

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._buffer[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        received = self._buffer[: self._filled]
        offset, needed = 0, _PREFIX.size
        while len(received) - offset >= _PREFIX.size:
            header_bytes, body_bytes = _PREFIX.unpack_from(received, offset)
            needed = _PREFIX.size + header_bytes + body_bytes
            if len(received) - offset < needed:
                break
            middle = offset + _PREFIX.size + header_bytes
            header = orjson.loads(received[offset + _PREFIX.size : middle])
            self.frame_received(header, received[middle : offset + needed])
            offset, needed = offset + needed, _PREFIX.size
        if offset or needed > len(self._buffer):
            self._keep_rest(received[offset:], needed)

    def _keep_rest(self, rest: memoryview, needed: int) -> None:
        """Move the beginning of an unfinished frame to the front of a buffer that can hold all of it."""
        beginning = bytes(rest)
        if needed <= len(self._kept):
            self._buffer = self._kept
        else:
            self._buffer = memoryview(bytearray(needed))
            if needed <= _LARGEST_KEPT_BUFFER_BYTES:
                self._kept = self._buffer
        self._buffer[: len(beginning)] = beginning
        self._filled = len(beginning)
