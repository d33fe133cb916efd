"""Owns a relay before storage that counts the calls made to it, those of the service and of its host alike.

It refuses to understand more than the first line of a request. It costs CPU, so nothing is timed through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence

#: A method, and what of Azurite's path tells calls apart: container or queue, the rest of the path, `comp` and such.
_CALL = re.compile(rb"^(GET|HEAD|PUT|POST|DELETE) /devstoreaccount1/([^/? ]+)([^? ]*)\??([^ ]*) HTTP/1\.1\r\n")
_PIECE_BYTES = 64 * 1024


@contextlib.contextmanager
def counted(connection_string: str) -> Iterator[tuple[str, Counter[str]]]:
    """Yield a connection string that leads through relays, and the calls made with it so far, by kind."""
    ports = [int(port) for port in re.findall(r"(?:Blob|Queue)Endpoint=http://[^:]+:(\d+)/", connection_string)]
    relays = [_Relay(port) for port in ports]
    calls: Counter[str] = Counter()
    for relay in relays:
        relay.calls = calls
    with _listening(relays) as listeners:
        for port, listener in zip(ports, listeners, strict=True):
            connection_string = connection_string.replace(f":{port}/", f":{listener}/")
        yield connection_string, calls


@contextlib.contextmanager
def _listening(relays: Sequence[_Relay]) -> Iterator[list[int]]:
    """Run the relays on a loop and thread of their own, since their user blocks its own; yield their ports."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run[T](work: Coroutine[None, None, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    servers = [run(asyncio.start_server(relay.serve, "127.0.0.1", 0)) for relay in relays]
    try:
        yield [server.sockets[0].getsockname()[1] for server in servers]
    finally:
        for server in servers:
            run(_close(server))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _close(server: asyncio.Server) -> None:
    server.close()
    server.close_clients()
    await server.wait_closed()


class _Relay:
    """Passes connections on to a port, counting the requests of each kind."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self.calls: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """See one connection through."""
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(
                self._pass_on(reader, upstream_writer, is_request=True),
                self._pass_on(upstream_reader, writer, is_request=False),
            )

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_request: bool) -> None:
        try:
            while piece := await reader.read(_PIECE_BYTES):
                # No client here sends a request before it has the reply to the last one, so one begins a piece.
                if is_request and (call := _CALL.match(piece)):
                    self.calls[_describe(call)] += 1
                writer.write(piece)
                await writer.drain()
        finally:
            writer.close()


def _describe(call: re.Match[bytes]) -> str:
    method, store, rest, query = (part.decode() for part in call.groups())
    kind = re.search(r"comp=(\w+)", query)
    if rest.startswith("/messages"):
        return {"GET": "receive", "POST": "send", "PUT": "renew or release", "DELETE": "delete"}[method] + f" {store}"
    names = "/".join(re.sub(r"[0-9a-f-]{12,}|\d+", "*", part) for part in rest.split("/") if part)
    return f"{method} {store} {names} {kind.group(1) if kind else ''}".strip()
