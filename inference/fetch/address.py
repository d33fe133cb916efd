"""Decides which addresses a fetch may connect to.

It refuses to look at names or urls, and to resolve anything.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses, ip_address
from typing import Final

from msgspec import Struct

from inference.fetch.ranges import DENIED, PLATFORM, IPNetwork
from inference.settings import Network

type IPAddress = IPv4Address | IPv6Address


def parse_address(text: str) -> IPAddress:
    """Read an address as getaddrinfo or getpeername give it: zone dropped, IPv4-mapped unwrapped.

    Raises ValueError.
    """
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped  # ::ffff:127.0.0.1 connects to 127.0.0.1, yet is not "in" 127.0.0.0/8
    return address


class _Ranges:
    """Networks of both families as sorted, disjoint spans: a DNS answer may hold hundreds of addresses to look up."""

    def __init__(self, networks: Sequence[IPNetwork]) -> None:
        ipv4 = collapse_addresses(network for network in networks if isinstance(network, IPv4Network))
        ipv6 = collapse_addresses(network for network in networks if isinstance(network, IPv6Network))
        self._spans = {
            4: [(int(network.network_address), int(network.broadcast_address)) for network in ipv4],
            6: [(int(network.network_address), int(network.broadcast_address)) for network in ipv6],
        }

    def __contains__(self, address: IPAddress) -> bool:
        spans, number = self._spans[address.version], int(address)
        before = bisect_right(spans, number, key=lambda span: span[0])
        return before > 0 and number <= spans[before - 1][1]


_DENIED: Final = _Ranges(DENIED)
_PLATFORM: Final = _Ranges(PLATFORM)


def is_public(address: IPAddress) -> bool:
    """Tell whether anyone on the internet may be meant by `address`, rather than this machine or its network."""
    return address not in _DENIED and address.is_global  # is_global: what IANA reserves after this list was made


class AddressRule(Struct, frozen=True):
    """Public addresses on the scheme's own port, besides the exceptions of INFERENCE_FETCH_ALLOW."""

    allow: tuple[Network, ...] = ()

    def names_port(self, port: int) -> bool:
        """Tell whether some exception opens `port`, so that resolving the name can lead anywhere."""
        return any(port == network.port for network in self.allow)

    def excepts(self, address: IPAddress, port: int) -> bool:
        """Tell whether INFERENCE_FETCH_ALLOW opens `address` on `port`; it never opens the platform's own."""
        return address not in _PLATFORM and any(network.contains(address, port) for network in self.allow)

    def permits(self, address: IPAddress, port: int, *, is_standard_port: bool) -> bool:
        """Tell whether a fetch may connect to `address` on `port`."""
        return (is_standard_port and is_public(address)) or self.excepts(address, port)
