"""Connections that can only lead to the addresses vetted for the request that opens them.

It refuses to resolve and to judge. aiohttp keeps the host name for TLS and as the key of its pool; the addresses come
from the pin, a context variable, because the pool's key leaves no room for them.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from aiohttp import AddrInfoType, ClientRequest, ClientTimeout, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from msgspec import Struct

from inference.errors import UrlNotAllowed
from inference.fetch.address import AddressRule, IPAddress, parse_address


class Pin(Struct):
    """Where the request of the current task may connect to."""

    host: str
    port: int
    addresses: tuple[IPAddress, ...]
    is_standard_port: bool
    #: Whether a connection was opened for this request, rather than one taken from the pool.
    has_dialled: bool = False


_pin: ContextVar[Pin] = ContextVar("pin")


@contextmanager
def pinned(pin: Pin) -> Iterator[None]:
    """Hold the requests made within to `pin`."""
    token = _pin.set(pin)
    try:
        yield
    finally:
        _pin.reset(token)


class PinnedConnector(TCPConnector):
    """A connection pool that dials vetted addresses alone, and checks who it got."""

    def __init__(self, rule: AddressRule, tls: ssl.SSLContext) -> None:
        # limit=0: callers bound the fetches under way, and a wait here would be charged to the origin
        super().__init__(resolver=_PinnedResolver(), use_dns_cache=False, socket_factory=_open_socket, ssl=tls, limit=0)
        self._rule = rule

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> Connection:
        """Return a connection whose peer is vetted, before a byte of the request is sent.

        Raises UrlNotAllowed.
        """
        connection = await super().connect(req, traces, timeout)
        transport = connection.transport
        peer = transport.get_extra_info("peername") if transport is not None else None
        # a peer that closed at once has no name, and nothing to answer either
        if peer is not None and not self._is_vetted(str(peer[0]), peer[1]):
            connection.close()
            raise UrlNotAllowed
        return connection

    def _is_vetted(self, host: str, port: int) -> bool:
        pin, address = _pin.get(), parse_address(host)
        if pin.has_dialled:
            return port == pin.port and address in pin.addresses
        # From the pool: vetted when it was opened for this very name, though the name may rotate its addresses.
        return self._rule.permits(address, port, is_standard_port=pin.is_standard_port)


class _PinnedResolver(AbstractResolver):
    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - aiohttp's interface; the pin has both families
    ) -> list[ResolveResult]:
        pin = _pin.get()
        if (host, port) != (pin.host, pin.port):
            raise UrlNotAllowed
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=_family(address),
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in pin.addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


def _family(address: IPAddress) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _open_socket(info: AddrInfoType) -> socket.socket:
    """The last gate before a connect; aiohttp takes address literals past every resolver, but not past this."""
    family, kind, protocol, _, peer = info
    pin = _pin.get()
    if peer[1] != pin.port or parse_address(str(peer[0])) not in pin.addresses:
        raise UrlNotAllowed
    pin.has_dialled = True
    return socket.socket(family, kind, protocol)
