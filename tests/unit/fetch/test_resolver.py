"""The machine's own resolver, asked for a name that every machine has."""

from __future__ import annotations

import socket

import pytest

from inference.fetch import SystemResolver


async def test_localhost_resolves_to_loopback_addresses_each_once() -> None:
    resolver = SystemResolver()
    answers = await resolver.resolve("localhost", 80)
    resolver.close()

    assert set(answers) <= {"127.0.0.1", "::1"}
    assert len(set(answers)) == len(answers) > 0


async def test_numbers_that_look_like_names_are_what_getaddrinfo_says_so_that_answers_must_be_vetted() -> None:
    resolver = SystemResolver()
    answers = [await resolver.resolve(host, 80) for host in ("127.1", "2130706433", "0x7f.1")]
    resolver.close()

    assert answers == [["127.0.0.1"]] * 3


async def test_a_name_that_cannot_exist_raises_what_getaddrinfo_does() -> None:
    resolver = SystemResolver()
    with pytest.raises(socket.gaierror):
        await resolver.resolve("256.256.256.256", 80)
    resolver.close()
