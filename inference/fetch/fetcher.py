"""Fetches the bytes at a url that a stranger chose, within limits, from public origins.

It refuses to trust the url or the origin: every hop passes the url rule and the guarded client, and an error never
carries the url.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterable
from typing import Final

import aiohttp
from msgspec import Struct

from inference.errors import DeadlineExceeded, ImageTooLarge, OriginBroken, OriginTimeout, UrlNotAllowed
from inference.fetch.client import DNS_TIMEOUT_SECONDS, GuardedClient
from inference.fetch.outcomes import REDIRECTS, explain_status
from inference.fetch.resolver import Resolver
from inference.fetch.slots import OriginSlots
from inference.fetch.url import Target
from inference.redaction import redact_url
from inference.settings import FetchLimits

_log = logging.getLogger("inference.fetch")

_CHUNK_BYTES: Final = 64 * 1024


class _Redirect(Struct, frozen=True):
    """An answer that names another place: its Location as sent."""

    location: str | None


class Fetcher:
    """Fetches images from the internet, and from nowhere else but what `limits.allow` names."""

    def __init__(
        self,
        limits: FetchLimits,
        *,
        resolver: Resolver | None = None,
        own_hosts: Iterable[str] = (),
        tls: ssl.SSLContext | None = None,
        dns_timeout_seconds: float = DNS_TIMEOUT_SECONDS,
    ) -> None:
        """Connect to nothing yet.

        `own_hosts` are this service's public names (WEBSITE_HOSTNAME, CONTAINER_APP_HOSTNAME), never fetched from;
        `resolver` and `tls` replace the machine's name look-up and its trust store.
        """
        self._limits = limits
        self._client = GuardedClient(
            limits, resolver=resolver, own_hosts=own_hosts, tls=tls, dns_timeout_seconds=dns_timeout_seconds
        )
        self._slots = OriginSlots(limits.max_per_origin)

    async def fetch(self, url: str, *, deadline_seconds: float | None = None) -> bytes:
        """Return the body at `url`, following redirects, within `deadline_seconds` and the limits' own timeout.

        The limits' timeout is the origin's: waiting for a slot of a busy origin is not charged to it.

        Raises UrlNotAllowed; ImageNotFound, OriginRefused, OriginBroken, ImageTooLarge; and, worth another try,
        OriginThrottled, OriginUnavailable, OriginTimeout, DeadlineExceeded (`deadline_seconds` were over before the
        limits' timeout, or before there was a slot), ShuttingDown.
        """
        deadline = None if deadline_seconds is None else asyncio.get_running_loop().time() + deadline_seconds
        try:
            return await self._fetch(self._client.urls.read(url), deadline)
        except UrlNotAllowed as refusal:
            record = {"action": "fetch_refused", "url": redact_url(url), "reason": refusal.message}
            _log.warning("fetch refused: %s: %s", record["url"], record["reason"], extra=record)
            raise

    async def close(self) -> None:
        """Hang up on every origin; a later `fetch` raises ShuttingDown."""
        await self._client.close()

    async def _fetch(self, target: Target, deadline: float | None) -> bytes:
        now = asyncio.get_running_loop().time
        seconds_left = self._limits.timeout_seconds
        visited: set[Target] = set()
        while len(visited) <= self._limits.max_redirects:
            visited.add(target)
            async with self._slots.hold(target.origin, until=deadline):
                begun = now()
                until = begun + seconds_left
                until = until if deadline is None else min(until, deadline)
                try:
                    answer = await self._client.request("GET", target, self._receive, until=until)
                except OriginTimeout:
                    if until == deadline and now() >= deadline:
                        raise DeadlineExceeded from None  # the origin had less time than it may take
                    raise
                seconds_left -= now() - begun
            if isinstance(answer, bytes):
                return answer
            target = self._client.urls.follow(target, answer.location)
            if target in visited:
                raise OriginBroken("The image's origin redirects in a circle.")
        raise OriginBroken(f"The image's origin redirects more than {self._limits.max_redirects} times.")

    async def _receive(self, response: aiohttp.ClientResponse) -> bytes | _Redirect:
        if response.status in REDIRECTS:
            return _Redirect(response.headers.get("Location"))
        if response.status != 200:
            raise explain_status(response.status, response.headers)
        codings = response.headers.getall("Content-Encoding", [])
        if any(coding.strip().lower() not in {"", "identity"} for coding in codings):
            raise OriginBroken("The image's origin sent a content coding that was not asked for.")
        self._check_size(response.content_length or 0)
        chunks: list[bytes] = []
        received_bytes = 0
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            received_bytes += len(chunk)
            self._check_size(received_bytes)
            chunks.append(chunk)
        return b"".join(chunks)

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._limits.max_image_bytes:
            raise ImageTooLarge(f"The image has more than {self._limits.max_image_bytes} bytes.")
