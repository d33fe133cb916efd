"""Posts to urls that a stranger chose, among those that the operator allows.

It refuses every url under no allowed prefix, follows no redirect and reads nothing of a reply but its status line and
headers: what a callback says is nobody's business here. An error never carries the url.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Mapping, Sequence

import aiohttp
from msgspec import Struct

from inference.errors import UrlNotAllowed
from inference.fetch.client import GuardedClient
from inference.fetch.outcomes import read_retry_after
from inference.fetch.resolver import Resolver
from inference.fetch.url import Target
from inference.settings import FetchLimits, UrlPrefix


class Answer(Struct, frozen=True):
    """What came back."""

    status: int
    #: What `Retry-After` asks for, when it says something readable.
    retry_after_seconds: float | None = None

    @property
    def is_success(self) -> bool:
        """Tell whether the status is a 2xx."""
        return 200 <= self.status < 300


class Poster:
    """Posts to urls under `allow`, held to the same rules of url and address as `Fetcher`."""

    def __init__(
        self,
        limits: FetchLimits,
        allow: Sequence[UrlPrefix],
        *,
        resolver: Resolver | None = None,
        own_hosts: Iterable[str] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Connect to nothing yet; all but `allow` as for `Fetcher`."""
        self._timeout_seconds = limits.timeout_seconds
        self._allow = tuple(allow)
        self._client = GuardedClient(limits, resolver=resolver, own_hosts=own_hosts, tls=tls)

    def check(self, url: str) -> None:
        """Raise UrlNotAllowed where `post` would without asking anyone."""
        self._read(url)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post `body` on a connection of its own, within the limits' timeout, and return how it was answered.

        Raises UrlNotAllowed, OriginBroken, OriginUnavailable, OriginTimeout, ShuttingDown: nobody answered at all.
        """
        target = self._read(url)
        until = asyncio.get_running_loop().time() + self._timeout_seconds
        # A connection from the pool may be one that the other side is closing, and a POST is not sent twice for that.
        sent = {**headers, "Connection": "close"}
        return await self._client.request("POST", target, _receive, until=until, body=body, headers=sent)

    async def close(self) -> None:
        """Hang up; a later `post` raises ShuttingDown."""
        await self._client.close()

    def _read(self, url: str) -> Target:
        target = self._client.urls.read(url)
        if not any(prefix.contains(*target.origin, target.path) for prefix in self._allow):
            raise UrlNotAllowed("The url begins with none of the prefixes in INFERENCE_CALLBACK_ALLOW.")
        return target


async def _receive(response: aiohttp.ClientResponse) -> Answer:
    return Answer(response.status, read_retry_after(response.headers))
