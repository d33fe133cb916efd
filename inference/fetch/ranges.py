"""The address ranges that no url of a stranger may lead to, as data with the source of each.

It decides nothing: `inference.fetch.address` does. Neither `is_global` nor `is_private` can stand in for this list;
CPython calls 168.63.129.16, all multicast, NAT64 and IPv4-compatible addresses global.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

type IPNetwork = IPv4Network | IPv6Network


def _networks(*ranges: str) -> tuple[IPNetwork, ...]:
    return tuple(map(ip_network, ranges))


#: Azure's own endpoints on every machine: they hand out credentials and configuration to whoever asks, so that not
#: even INFERENCE_FETCH_ALLOW opens them.
PLATFORM: Final = _networks(
    # Link-local: Instance Metadata Service 169.254.169.254 and the IDENTITY_ENDPOINT of App Service and Container Apps
    # https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    "169.254.0.0/16",
    # WireServer: DHCP, DNS, health probes, goal state of the virtual machine
    # https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
    "168.63.129.16/32",
)

#: `recommendedV1` of https://github.com/microsoft/AntiSSRF config/IPAddressRanges.json (IANA registries of 2025-10-09).
_RECOMMENDED_IPV4: Final = _networks(
    # IANA IPv4 Special-Purpose Address Registry
    # https://www.iana.org/assignments/iana-ipv4-special-registry/
    "0.0.0.0/8",  # this host on this network, RFC 791
    "10.0.0.0/8",  # private use, RFC 1918
    "100.64.0.0/10",  # shared address space of carriers, RFC 6598; neither private nor global to CPython
    "127.0.0.0/8",  # loopback, RFC 1122
    "172.16.0.0/12",  # private use, RFC 1918
    "192.0.0.0/24",  # IETF protocol assignments, RFC 6890; holds PCP and TURN anycast, NAT64 discovery
    "192.0.2.0/24",  # documentation TEST-NET-1, RFC 5737
    "192.31.196.0/24",  # AS112-v4, RFC 7535
    "192.52.193.0/24",  # automatic multicast tunneling, RFC 7450
    "192.88.99.0/24",  # 6to4 relay anycast, deprecated, RFC 7526
    "192.168.0.0/16",  # private use, RFC 1918
    "192.175.48.0/24",  # direct delegation AS112, RFC 7534
    "198.18.0.0/15",  # benchmarking, RFC 2544
    "198.51.100.0/24",  # documentation TEST-NET-2, RFC 5737
    "203.0.113.0/24",  # documentation TEST-NET-3, RFC 5737
    "240.0.0.0/4",  # reserved, RFC 1112; holds limited broadcast 255.255.255.255, RFC 919
    # IANA IPv4 Multicast Address Space
    # https://www.iana.org/assignments/multicast-addresses/
    "224.0.0.0/4",  # RFC 5771
)

_RECOMMENDED_IPV6: Final = _networks(
    # IANA IPv6 Special-Purpose Address Registry
    # https://www.iana.org/assignments/iana-ipv6-special-registry/
    "::/128",  # unspecified, RFC 4291
    "::1/128",  # loopback, RFC 4291
    "64:ff9b::/96",  # NAT64, RFC 6052: an IPv4 address in disguise, private ones included
    "64:ff9b:1::/48",  # local-use NAT64, RFC 8215
    "100::/64",  # discard-only, RFC 6666
    "100:0:0:1::/64",  # dummy prefix, RFC 9780
    "2001::/23",  # IETF protocol assignments, RFC 2928; holds Teredo 2001::/32 (RFC 4380), ORCHID, benchmarking
    "2001:db8::/32",  # documentation, RFC 3849
    "2002::/16",  # 6to4, RFC 3056: an IPv4 address in disguise
    "2620:4f:8000::/48",  # direct delegation AS112, RFC 7534
    "3fff::/20",  # documentation, RFC 9637
    "5f00::/16",  # segment routing SIDs, RFC 9602
    "fc00::/7",  # unique local, RFC 4193
    "fe80::/10",  # link-local, RFC 4291
    # https://learn.microsoft.com/windows/win32/winsock/link-local-and-site-local-addresses-2
    "fec0::/10",  # site-local, deprecated, RFC 3879
    # IANA IPv6 Multicast Address Space
    # https://www.iana.org/assignments/ipv6-multicast-addresses/
    "ff00::/8",  # RFC 4291
)

#: What `recommendedV1` lacks.
_ADDITIONS: Final = _networks(
    "::/96",  # IPv4-compatible, deprecated, RFC 4291 §2.5.5.1: ::127.0.0.1
    "::ffff:0:0:0/96",  # IPv4-translated (SIIT), RFC 2765: ::ffff:0:127.0.0.1
    # IANA IPv6 Address Space: global unicast is allocated from 2000::/3 alone, the rest is "Reserved by IETF"
    # https://www.iana.org/assignments/ipv6-address-space/
    "::/3",
    "4000::/2",
    "8000::/1",
)

DENIED: Final = PLATFORM + _RECOMMENDED_IPV4 + _RECOMMENDED_IPV6 + _ADDITIONS
