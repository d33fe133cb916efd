"""Turns host names into addresses, off the event loop.

It refuses to judge them: `inference.fetch.address` does, on every answer.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

#: Look-ups under way at once. They have threads of their own, so that a name server that never answers cannot
#: take the worker's shared pool.
_MAX_LOOKUPS: Final = 16


class Resolver(Protocol):
    """Where addresses come from."""

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """Return every address of `host`, as getaddrinfo spells them.

        Raises OSError (socket.gaierror) when there is none.
        """


class SystemResolver:
    """The machine's own resolver: getaddrinfo, so /etc/hosts and the virtual network's DNS count."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_MAX_LOOKUPS, thread_name_prefix="resolve")

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """Return every address of `host`, each once.

        Raises OSError.
        """
        answers = await asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host, port)
        return list(dict.fromkeys(str(answer[4][0]) for answer in answers))

    def close(self) -> None:
        """Drop look-ups that have not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)


type _Answer = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str | int | bytes, ...]]


def _look_up(host: str, port: int) -> Sequence[_Answer]:
    # AI_ADDRCONFIG: no IPv6 answers on a machine without IPv6
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
