"""Owns a web server of images in memory that costs next to nothing; it refuses whatever is not GET or not there.

Run as a process of its own (`python -m benchmarks.batch.origin FOLDER`), it prints its port. It answers
`/NAME?anything`, pipelining and bodies aside, which no client here sends.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_TYPES = {".png": "image/png", ".jpg": "image/jpeg"}


class _Connection(asyncio.Protocol):
    """One kept-alive connection: a request comes in whole, or in pieces; its answer is one write."""

    def __init__(self, answers: Mapping[bytes, bytes]) -> None:
        self._answers = answers
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            request, _, self._received = self._received.partition(b"\r\n\r\n")
            path = request[4 : request.index(b" ", 4)].partition(b"?")[0]
            if self._transport is not None:
                self._transport.write(self._answers.get(path, _NOT_FOUND))


def read_answers(folder: Path) -> dict[bytes, bytes]:
    """Return the whole reply, head and body, for each file of a folder."""
    answers = {}
    for path in folder.iterdir():
        body = path.read_bytes()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {_TYPES[path.suffix]}\r\nContent-Length: {len(body)}\r\n\r\n"
        answers[f"/{path.name}".encode()] = head.encode() + body
    return answers


async def serve(folder: Path) -> None:
    """Serve until the process is ended."""
    answers = read_answers(folder)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(answers), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
