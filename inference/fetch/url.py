"""Reads a url into the parts that a request is rebuilt from, or refuses it.

It refuses to repair: parsers disagree on odd urls, so whatever is not plainly one thing is not fetched. Nothing is
resolved here, and no message repeats the url.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address
from typing import Final
from urllib.parse import quote

from msgspec import Struct
from yarl import URL

from inference.errors import OriginBroken, UrlNotAllowed
from inference.fetch.address import AddressRule, IPAddress

#: Longest url read; the common bound of servers and proxies.
MAX_URL_CHARACTERS: Final = 2048

STANDARD_PORTS: Final = {"https": 443, "http": 80}

#: Names that lead to this machine, its network or its platform whatever they resolve to: RFC 6761 (localhost), RFC 6762
#: (local), RFC 8375 (home.arpa), ICANN's private-use internal (also metadata.azure.internal).
_PRIVATE_SUFFIXES: Final = ("localhost", "localdomain", "local", "internal", "home.arpa")

#: White space, control characters and backslashes, which parsers drop or turn into slashes, and halves of characters
#: that have no encoding. U+DC80 … U+DCFF pass: they are aiohttp's spelling of header bytes that are not UTF-8.
_FORBIDDEN: Final = re.compile("[\x00-\x20\x7f\\\\\ud800-\udc7f\udd00-\udfff]")
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]+")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#.*)?", re.DOTALL)
_AUTHORITY: Final = re.compile(r"(\[[^\[\]]+\]|[^\[\]:]+)(?::([1-9][0-9]{0,4}))?")
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
#: Two labels or more and no trailing dot. The last one starts with a letter: getaddrinfo reads 127.1, 0x7f.1 and
#: 2130706433 as addresses.
_HOST_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?")


class _Malformed(Exception):
    """No url at all, or one that parsers read differently."""


class Target(Struct, frozen=True):
    """A url that may be fetched if its addresses are permitted."""

    scheme: str
    #: Lower case; a literal without brackets.
    host: str
    port: int
    #: Starts with a slash; as given, so that a signature over it still holds.
    path: str
    query: str
    #: The address when the url holds one instead of a name.
    literal: IPAddress | None = None

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port."""
        return self.scheme, self.host, self.port

    @property
    def is_standard_port(self) -> bool:
        """Tell whether the port is the scheme's own."""
        return self.port == STANDARD_PORTS[self.scheme]

    @property
    def request_url(self) -> URL:
        """The url for the client, built of these parts and never parsed again."""
        return URL.build(
            scheme=self.scheme,
            host=self._bracketed_host,
            port=self.port,
            path=self.path,
            query_string=self.query,
            encoded=True,
        )

    def resolve(self, location: str) -> str:
        """Return the absolute url that `location` means here (RFC 3986 §5.2), its own characters left as they are."""
        if _SCHEME.match(location):
            return location
        if location.startswith("//"):
            return f"{self.scheme}:{location}"
        path = re.split(r"[?#]", location, maxsplit=1)[0]
        suffix = location[len(path) :]
        if not path:
            path = self.path
            suffix = suffix if suffix.startswith("?") else f"?{self.query}"
        elif not path.startswith("/"):
            path = _merge(self.path, path)
        return f"{self.scheme}://{self._bracketed_host}:{self.port}{path}{suffix}"

    @property
    def _bracketed_host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


class UrlRule:
    """What a url must look like: scheme, user information, port and host, before any name is resolved."""

    def __init__(self, addresses: AddressRule, *, allow_http: bool = False, own_hosts: Iterable[str] = ()) -> None:
        """`own_hosts` are the public names of this very service, which must not call itself."""
        self._addresses = addresses
        self._schemes = frozenset(STANDARD_PORTS) if allow_http else frozenset({"https"})
        own = (host.strip().lower().partition(":")[0].rstrip(".") for host in own_hosts)
        self._denied_suffixes = (*_PRIVATE_SUFFIXES, *filter(None, own))

    def read(self, url: str) -> Target:
        """Return the parts of `url`.

        Raises UrlNotAllowed.
        """
        try:
            return self._read(url)
        except _Malformed as exc:
            raise UrlNotAllowed(f"The url {exc}.") from None

    def follow(self, target: Target, location: str | None) -> Target:
        """Return where the `Location` of an answer from `target` leads.

        Raises UrlNotAllowed, and OriginBroken for no url at all.
        """
        if not location:
            raise OriginBroken("The image's origin redirects to nowhere.")
        try:
            _screen(location)
            onward = self._read(target.resolve(location))
        except _Malformed as exc:
            raise OriginBroken(f"The image's origin redirects to a url that {exc}.") from None
        if (target.scheme, onward.scheme) == ("https", "http"):
            raise UrlNotAllowed("The url redirects from https to http.")
        return onward

    def _read(self, url: str) -> Target:
        _screen(url)
        match = _URL.fullmatch(url)
        if match is None:
            raise _Malformed("is not absolute")
        scheme, authority, path, query = match.groups(default="")
        if (scheme := scheme.lower()) not in self._schemes:
            raise UrlNotAllowed(f"The url's scheme is not {' or '.join(sorted(self._schemes))}.")
        host, port = self._read_authority(authority, STANDARD_PORTS[scheme])
        literal = _read_literal(host)
        target = Target(scheme, host.strip("[]"), port, _to_ascii(path) or "/", _to_ascii(query), literal)
        self._check_host(target)
        return target

    def _read_authority(self, authority: str, standard_port: int) -> tuple[str, int]:
        if "@" in authority:
            raise UrlNotAllowed("The url holds a user name or a password.")
        match = _AUTHORITY.fullmatch(authority)
        if match is None:
            raise _Malformed("has a malformed host or port")
        port = int(match[2] or standard_port)
        if port != standard_port and not self._addresses.names_port(port):
            raise UrlNotAllowed("The url's port is not the standard one of its scheme.")
        return match[1].lower(), port

    def _check_host(self, target: Target) -> None:
        if target.literal is not None:
            if not self._addresses.excepts(target.literal, target.port):
                raise UrlNotAllowed("The url's host is an address, not a name.")
        elif not _HOST_NAME.fullmatch(target.host):
            raise UrlNotAllowed("The url's host is not a fully qualified name.")
        elif any(target.host == suffix or target.host.endswith(f".{suffix}") for suffix in self._denied_suffixes):
            raise UrlNotAllowed("The url's host is not a public name.")


def _screen(url: str) -> None:
    """Refuse, before any parsing, what parsers silently repair."""
    if not 0 < len(url) <= MAX_URL_CHARACTERS:
        raise _Malformed(f"is empty or longer than {MAX_URL_CHARACTERS} characters")
    if _FORBIDDEN.search(url):
        raise _Malformed("holds white space, a control character or a backslash")


def _read_literal(host: str) -> IPAddress | None:
    """Return the address that `host` spells in its one canonical form, None for a name."""
    is_bracketed = host.startswith("[")
    text = host[1:-1] if is_bracketed else host
    try:
        address = ip_address(text)
    except ValueError:
        if is_bracketed:
            raise _Malformed("has a malformed host or port") from None
        return None
    is_ipv6 = isinstance(address, IPv6Address)
    is_disguised = isinstance(address, IPv6Address) and (
        address.ipv4_mapped is not None or address.scope_id is not None
    )
    if is_disguised or is_bracketed != is_ipv6 or str(address) != text:
        raise UrlNotAllowed("The url's host is an address in an unusual form.")
    return address


def _merge(base: str, path: str) -> str:
    """Return the path that a relative one means beside `base` (RFC 3986 §5.2.3 and §5.2.4).

    urljoin takes the beginning of a path like `//[x/y` for a host, fails on it, and drops empty segments.
    """
    merged: list[str] = []
    segments = [*base.split("/")[1:-1], *path.split("/")]
    for segment in segments:
        if segment == "..":
            del merged[-1:]
        elif segment != ".":
            merged.append(segment)
    if segments[-1] in {".", ".."}:
        merged.append("")
    return "/" + "/".join(merged)


def _to_ascii(part: str) -> str:
    """Percent-encode what is not ASCII and nothing else: the rest may be signed byte for byte."""
    return _NOT_ASCII.sub(lambda match: quote(match[0].encode("utf-8", "surrogateescape")), part)
