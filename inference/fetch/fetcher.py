"""Fetches the bytes at a url that a stranger chose, within limits, from public origins.

It refuses to trust the url, the name server, the origin or the environment: every hop passes the url rule and the
address rule, and an error never carries the url.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp

from inference.errors import (
    ImageTooLarge,
    InferenceError,
    OriginBroken,
    OriginTimeout,
    ShuttingDown,
    UrlNotAllowed,
)
from inference.fetch.address import AddressRule, IPAddress, parse_address
from inference.fetch.connector import Pin, PinnedConnector, pinned
from inference.fetch.outcomes import REDIRECTS, explain_exception, explain_lookup, explain_status
from inference.fetch.resolver import Resolver, SystemResolver
from inference.fetch.slots import OriginSlots
from inference.fetch.url import Target, UrlRule
from inference.redaction import redact_url
from inference.settings import FetchLimits

logger = logging.getLogger(__name__)

#: Seconds that one look-up of a name may take.
DNS_TIMEOUT_SECONDS: Final = 2.0
#: Addresses of one name that are tried; all of them are vetted.
_MAX_DIALLED: Final = 16
#: More addresses than any honest name has; one UDP answer holds fewer (RFC 6891, 4096 bytes).
_MAX_ANSWERS: Final = 256
_CHUNK_BYTES: Final = 64 * 1024

#: All that is sent besides Host: nothing of this process, and no coding that could hide a bomb.
_HEADERS: Final = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "onnx-functions"}


@dataclass(frozen=True, slots=True)
class _Redirect:
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
        self._addresses = AddressRule(limits.allow)
        self._urls = UrlRule(self._addresses, allow_http=limits.allow_http, own_hosts=own_hosts)
        self._system_resolver = SystemResolver()
        self._resolver = resolver or self._system_resolver
        self._tls = tls
        self._dns_timeout_seconds = dns_timeout_seconds
        self._slots = OriginSlots(limits.max_per_origin)
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    async def fetch(self, url: str, *, deadline_seconds: float | None = None) -> bytes:
        """Return the body at `url`, following redirects, within `deadline_seconds` and the limits' own timeout.

        The limits' timeout is the origin's: waiting for a slot of a busy origin is not charged to it.

        Raises UrlNotAllowed; ImageNotFound, OriginRefused, OriginBroken, ImageTooLarge; and, worth another try,
        OriginThrottled, OriginUnavailable, OriginTimeout, DeadlineExceeded (no slot in time), ShuttingDown.
        """
        deadline = None if deadline_seconds is None else asyncio.get_running_loop().time() + deadline_seconds
        try:
            return await self._fetch(self._urls.read(url), deadline)
        except UrlNotAllowed as refusal:
            record = {"action": "fetch_refused", "url": redact_url(url), "reason": refusal.message}
            logger.warning("fetch refused", extra=record)
            raise

    async def close(self) -> None:
        """Hang up on every origin; a later `fetch` raises ShuttingDown."""
        self._is_closed = True
        self._system_resolver.close()
        if self._session is not None:
            await self._session.close()

    async def _fetch(self, target: Target, deadline: float | None) -> bytes:
        now = asyncio.get_running_loop().time
        seconds_left = self._limits.timeout_seconds
        visited: set[Target] = set()
        while len(visited) <= self._limits.max_redirects:
            visited.add(target)
            async with self._slots.hold(target.origin, until=deadline):
                begun = now()
                until = begun + seconds_left
                answer = await self._request(target, until if deadline is None else min(until, deadline))
                seconds_left -= now() - begun
            if isinstance(answer, bytes):
                return answer
            target = self._urls.follow(target, answer.location)
            if target in visited:
                raise OriginBroken("The image's origin redirects in a circle.")
        raise OriginBroken(f"The image's origin redirects more than {self._limits.max_redirects} times.")

    async def _request(self, target: Target, until: float) -> bytes | _Redirect:
        """Make one hop, to vetted addresses only."""
        session = self._open_session()
        try:
            async with asyncio.timeout_at(until):
                pin = Pin(target.host, target.port, await self._vet(target), target.is_standard_port)
                with pinned(pin):
                    async with session.get(target.request_url, allow_redirects=False) as response:
                        return await self._receive(response)
        except (aiohttp.ClientError, OSError) as exc:
            failure = explain_exception(exc)
        raise failure  # outside the handler, so that no chain of causes leads to a text with the url in it

    async def _vet(self, target: Target) -> tuple[IPAddress, ...]:
        """Return the addresses to connect to; one answer that is denied denies them all."""
        if target.literal is not None:
            return (target.literal,)  # vetted by the url rule
        answers = await self._look_up(target)
        if len(answers) > _MAX_ANSWERS:
            raise UrlNotAllowed
        try:
            addresses = tuple(dict.fromkeys(map(parse_address, answers)))
        except ValueError:
            raise UrlNotAllowed from None
        if not all(
            self._addresses.permits(address, target.port, is_standard_port=target.is_standard_port)
            for address in addresses
        ):
            raise UrlNotAllowed
        return addresses[:_MAX_DIALLED]

    async def _look_up(self, target: Target) -> Sequence[str]:
        failure: InferenceError = OriginBroken("The url's host name has no address.")
        try:
            async with asyncio.timeout(self._dns_timeout_seconds):
                if answers := await self._resolver.resolve(target.host, target.port):
                    return answers
        except TimeoutError:
            failure = OriginTimeout("The url's host name took too long to look up.")
        except OSError as exc:
            failure = explain_lookup(exc)
        raise failure

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

    def _open_session(self) -> aiohttp.ClientSession:
        """Return the one session, made on the loop that first fetches."""
        if self._is_closed:
            raise ShuttingDown
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=PinnedConnector(self._addresses, self._tls or _trust_store()),
                headers=_HEADERS,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,  # a proxy would resolve the name itself, past every rule here
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._limits.connect_timeout_seconds),
            )
        return self._session


def _trust_store() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
