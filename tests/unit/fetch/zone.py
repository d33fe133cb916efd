"""A name server under the test's control, and fetchers that ask it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest

from inference.fetch import Fetcher
from inference.settings import FetchLimits, Network

#: Reading the machine's trust store takes longer than most tests do.
TRUST_STORE = ssl.create_default_context()


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:  # which a kernel without it does not make
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not socket.has_ipv6 or not _has_ipv6(), reason="this machine has no IPv6 loopback")


class Zone:
    """Answers as told: addresses, an error, or not at all; several answers to one name come one after the other."""

    def __init__(self, **names: Sequence[str] | OSError) -> None:
        #: Look-ups by name.
        self.asked: Counter[str] = Counter()
        self._answers: dict[str, list[Sequence[str] | OSError | asyncio.Event]] = {
            name.replace("_", "."): [answer] for name, answer in names.items()
        }

    def answer(self, name: str, *answers: Sequence[str] | OSError | asyncio.Event) -> None:
        """Answer `name` with these in turn, the last one for good; an event is a server that waits for it."""
        self._answers[name] = list(answers)

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """Return the next answer for `host`."""
        self.asked[host] += 1
        answers = self._answers.get(host, [["203.0.113.1"]])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, asyncio.Event):
            await answer.wait()
            return []
        if isinstance(answer, OSError):
            raise answer
        return answer


def exception(address: str, port: int) -> Network:
    """Build an entry of INFERENCE_FETCH_ALLOW."""
    return Network(ip_network(address), port)


@asynccontextmanager
async def fetching(
    *allow: Network,
    zone: Zone | None = None,
    own_hosts: Iterable[str] = (),
    tls: ssl.SSLContext | None = None,
    dns_timeout_seconds: float = 2.0,
    **limits: float,
) -> AsyncIterator[Fetcher]:
    """Open a fetcher that takes http too, with these exceptions and limits, and close it."""
    settings = FetchLimits(allow=allow, **{"allow_http": True, **limits})  # type: ignore[arg-type]
    fetcher = Fetcher(
        settings,
        resolver=zone or Zone(),
        own_hosts=own_hosts,
        tls=tls or TRUST_STORE,
        dns_timeout_seconds=dns_timeout_seconds,
    )
    try:
        yield fetcher
    finally:
        await fetcher.close()
