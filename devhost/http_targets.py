"""Owns what a request is addressed to: its target as a path with a query, and whether its Host header names a host.

It refuses what Kestrel refuses, and knows nothing of routes.
"""

import re
from urllib.parse import unquote, urlsplit

#: HttpUtilities.IsHostHeaderValid: narrower than RFC 3986; it may be empty.
_HOST = re.compile(r"(?:(?:[A-Za-z0-9!$&'()\-._~]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?)?")

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}

_DOTS = frozenset({".", ".."})


def is_host(text: str) -> bool:
    """Tell whether a Host header names a host, or is empty."""
    return _HOST.fullmatch(text) is not None


def normalize_target(target: str, host: str | None) -> str:
    """Return the path, without dot segments, and the query of a request target, which may be a whole url.

    Raises ValueError for a url that is none or of another host than the Host header, and for a path with a NUL.
    Sources: RFC 9112, section 3.2; Kestrel's Http1Connection, and its PathNormalizer, which decodes before it looks
    for dots.
    """
    if not target.startswith("/") and "://" in target:
        parts = urlsplit(target)
        default = _DEFAULT_PORTS.get(parts.scheme)
        if default is None:
            raise ValueError("a url of another scheme")
        authority = parts.netloc.rpartition("@")[2].removesuffix(default)
        if host is not None and host.removesuffix(default).lower() != authority.lower():
            raise ValueError("a url of another host")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    path, mark, query = target.partition("?")
    if "%00" in path:
        raise ValueError("a NUL in the path")
    return _without_dots(path) + mark + query


def _without_dots(path: str) -> str:
    if "/." not in path and "/%2" not in path:
        return path
    segments = path.split("/")[1:]
    kept: list[str] = []
    for segment in segments:
        dots = unquote(segment)
        if dots not in _DOTS:
            kept.append(segment)
        elif dots == ".." and kept:
            kept.pop()
    # As RFC 3986, section 5.2.4: what a last dot segment leaves ends with a slash.
    ending = "/" if unquote(segments[-1]) in _DOTS and kept else ""
    return f"/{'/'.join(kept)}{ending}"
