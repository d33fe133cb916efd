"""Makes single requests to urls that a stranger chose, over connections that lead to vetted addresses alone.

It refuses to trust the name server, the origin or the environment, to follow a redirect and to read an answer: whoever
asked says what an answer means. An error never carries the url.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final

import aiohttp

from inference.cancellation import has_caller_left
from inference.errors import InferenceError, OriginBroken, OriginTimeout, ShuttingDown, UrlNotAllowed
from inference.fetch.address import AddressRule, IPAddress, parse_address
from inference.fetch.connector import Pin, PinnedConnector, pinned
from inference.fetch.outcomes import explain_exception, explain_lookup
from inference.fetch.resolver import Resolver, SystemResolver
from inference.fetch.url import Target, UrlRule
from inference.settings import FetchLimits

#: Seconds that one look-up of a name may take.
DNS_TIMEOUT_SECONDS: Final = 2.0
#: Addresses of one name that are tried; all of them are vetted.
_MAX_DIALLED: Final = 16
#: More addresses than any honest name has; one UDP answer holds fewer (RFC 6891, 4096 bytes).
_MAX_ANSWERS: Final = 256

#: All that is sent besides Host and what the caller adds: nothing of this process, no coding that could hide a bomb.
_HEADERS: Final = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "onnx-functions"}


class GuardedClient:
    """An HTTP client for public origins, and for nowhere else but what `limits.allow` names."""

    def __init__(
        self,
        limits: FetchLimits,
        *,
        resolver: Resolver | None = None,
        own_hosts: Iterable[str] = (),
        tls: ssl.SSLContext | None = None,
        dns_timeout_seconds: float = DNS_TIMEOUT_SECONDS,
    ) -> None:
        """Connect to nothing yet; the arguments are those of `Fetcher`."""
        self._addresses = AddressRule(limits.allow)
        #: What a url must look like before it is asked for.
        self.urls = UrlRule(self._addresses, allow_http=limits.allow_http, own_hosts=own_hosts)
        self._connect_timeout_seconds = limits.connect_timeout_seconds
        self._system_resolver = SystemResolver()
        self._resolver = resolver or self._system_resolver
        self._tls = tls
        self._dns_timeout_seconds = dns_timeout_seconds
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    async def request[T](
        self,
        method: str,
        target: Target,
        receive: Callable[[aiohttp.ClientResponse], Awaitable[T]],
        *,
        until: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """Make one request, and return what `receive` makes of the answer, by the loop's time `until`.

        Raises UrlNotAllowed, OriginBroken, OriginUnavailable, OriginTimeout, ShuttingDown, and what `receive` raises.
        """
        session = self._open_session()
        try:
            async with asyncio.timeout_at(until):
                pin = Pin(target.host, target.port, await self._vet(target), target.is_standard_port)
                with pinned(pin):
                    url = target.request_url
                    async with session.request(
                        method, url, data=body, headers=headers, allow_redirects=False
                    ) as response:
                        return await receive(response)
        except (aiohttp.ClientError, OSError) as exc:
            failure = ShuttingDown() if self._is_closed else explain_exception(exc)
        except (RuntimeError, asyncio.CancelledError):
            # Session and look-ups that were closed under the request say so in these ways.
            if not self._is_closed or has_caller_left():
                raise
            failure = ShuttingDown()
        raise failure  # outside the handler, so that no chain of causes leads to a text with the url in it

    async def close(self) -> None:
        """Hang up on every origin; requests under way, and later ones, raise ShuttingDown."""
        self._is_closed = True
        self._system_resolver.close()
        if self._session is not None:
            await self._session.close()

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

    def _open_session(self) -> aiohttp.ClientSession:
        """Return the one session, made on the loop that first asks."""
        if self._is_closed:
            raise ShuttingDown
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=PinnedConnector(self._addresses, self._tls or _trust_store()),
                headers=_HEADERS,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,  # a proxy would resolve the name itself, past every rule here
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_seconds),
            )
        return self._session


def _trust_store() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
