"""Frames on the socket between host and worker, whatever the pieces they arrive in."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket

import pytest

from devhost.framing import FrameProtocol, Header, encode_frame
from devhost.messages import (
    Invocation,
    Outcome,
    Value,
    pack_invocation,
    pack_outcome,
    unpack_invocation,
    unpack_outcome,
)


class Collector(FrameProtocol):
    def __init__(self) -> None:
        super().__init__()
        self.frames: list[tuple[Header, bytes]] = []

    def frame_received(self, header: Header, body: memoryview) -> None:
        self.frames.append((header, bytes(body)))


@pytest.mark.parametrize("seed", range(8))
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(seed: int) -> None:
    chance = random.Random(seed)
    frames = [({"n": n}, chance.randbytes(chance.choice([0, 1, 11, 12, 13, 500, 70_000, 300_000]))) for n in range(20)]
    stream = b"".join(b"".join(encode_frame(header, [body])) for header, body in frames)
    collector = Collector()

    position = 0
    while position < len(stream):
        size = chance.choice([1, 2, 12, 100, 65_536])
        while size and position < len(stream):
            target = collector.get_buffer(-1)
            piece = stream[position : position + min(size, len(target))]
            target[: len(piece)] = piece
            collector.buffer_updated(len(piece))
            position, size = position + len(piece), size - len(piece)

    assert collector.frames == frames


async def test_a_frame_without_a_body_leaves_nothing_to_write() -> None:
    """asyncio would poll for ever, with a whole core, to write an empty buffer."""
    near, far = socket.socketpair()
    transport, protocol = await asyncio.get_running_loop().create_connection(Collector, sock=near)

    with contextlib.closing(far):
        protocol.send({"n": 1}, [b""])

        assert "write=<idle" in repr(transport)
        transport.close()


def test_an_invocation_survives_the_trip_with_its_bytes() -> None:
    request = {"method": "POST", "url": "u", "headers": {}, "params": {}, "query": {}, "body": b"\x00\xff"}
    invocation = Invocation(
        "id",
        "function",
        [("req", Value("http", dict(request))), ("blob", Value("bytes", b"blob")), ("none", Value(None, None))],
        {"Id": Value("string", "7")},
        "00-trace",
        "state",
    )

    header, body = pack_invocation(5, invocation)

    assert unpack_invocation(header, memoryview(b"".join(body))) == invocation


def test_an_outcome_survives_the_trip_with_its_bytes() -> None:
    reply = {"status": 201, "headers": {"a": "b"}, "cookies": ["c=d"], "body": b"\x00reply"}
    outcome = Outcome(True, Value("http", dict(reply)), {"out": Value("bytes", b"\x01"), "text": Value("string", "t")})

    header, body = pack_outcome(5, outcome)

    assert unpack_outcome(header, memoryview(b"".join(body))) == outcome
