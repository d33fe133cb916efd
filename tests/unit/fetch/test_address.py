"""The address rule: what is public, and what an exception opens."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.fetch.address import AddressRule, is_public, parse_address
from inference.fetch.ranges import DENIED, IPNetwork
from inference.settings import Network
from tests.unit.fetch.hostile import PUBLIC_ADDRESSES, SPECIAL_ADDRESSES

denied_addresses = st.sampled_from(DENIED).flatmap(lambda network: st.ip_addresses(network=network))


@pytest.mark.parametrize("address", SPECIAL_ADDRESSES)
def test_an_address_of_a_special_range_is_not_public(address: str) -> None:
    assert not is_public(parse_address(address))


@pytest.mark.parametrize("address", SPECIAL_ADDRESSES)
def test_the_list_of_ranges_needs_no_help_of_the_python_version_at_hand(address: str) -> None:
    assert any(parse_address(address) in network for network in DENIED)


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_an_ordinary_address_is_public(address: str) -> None:
    assert is_public(parse_address(address))


@given(denied_addresses)
def test_every_address_of_a_denied_range_is_denied_on_every_port(address: IPv4Address | IPv6Address) -> None:
    rule = AddressRule()

    assert not rule.permits(address, 443, is_standard_port=True)
    assert not rule.permits(address, 8443, is_standard_port=False)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_fares_no_better_in_any_ipv6_disguise(address: IPv4Address) -> None:
    number = int(address)

    assert parse_address(f"::ffff:{address}") == address
    for prefix in ("::", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::"):
        assert not is_public(IPv6Address(int(IPv6Address(prefix)) | number))
    assert not is_public(IPv6Address((0x2002 << 112) | number << 80))
    assert not is_public(IPv6Address((0x2001 << 112) | number ^ 0xFFFFFFFF))


@pytest.mark.parametrize("network", DENIED, ids=str)
def test_both_ends_of_a_denied_range_are_denied(network: IPNetwork) -> None:
    assert not is_public(network.network_address)
    assert not is_public(network.broadcast_address)


def test_a_public_address_is_permitted_on_the_standard_port_alone() -> None:
    rule, address = AddressRule(), parse_address("8.8.8.8")

    assert rule.permits(address, 443, is_standard_port=True)
    assert not rule.permits(address, 8443, is_standard_port=False)


def test_an_exception_opens_its_addresses_on_its_port_and_nothing_else() -> None:
    rule = AddressRule((Network(ip_network("10.1.0.0/16"), 8080),))

    assert rule.permits(parse_address("10.1.2.3"), 8080, is_standard_port=False)
    assert rule.permits(parse_address("::ffff:10.1.2.3"), 8080, is_standard_port=False)
    assert not rule.permits(parse_address("10.1.2.3"), 443, is_standard_port=True)
    assert not rule.permits(parse_address("10.2.0.1"), 8080, is_standard_port=False)
    assert not rule.permits(parse_address("8.8.8.8"), 8080, is_standard_port=False)
    assert not rule.permits(parse_address("::10.1.2.3"), 8080, is_standard_port=False)


@pytest.mark.parametrize("address", ["169.254.169.254", "169.254.130.1", "168.63.129.16", "::ffff:169.254.169.254"])
def test_no_exception_opens_the_metadata_service_or_the_wire_server(address: str) -> None:
    rule = AddressRule((Network(ip_network("0.0.0.0/0"), 80), Network(ip_network("::/0"), 80)))

    assert not rule.permits(parse_address(address), 80, is_standard_port=True)


@pytest.mark.parametrize("text", ["", "example.com", "127.1", "0x7f000001", "01.2.3.4", "1.2.3.4.5", "[::1]"])
def test_what_is_not_an_address_is_not_read_as_one(text: str) -> None:
    with pytest.raises(ValueError, match="does not appear"):
        parse_address(text)
