"""Makes urls fit for logs, spans, results and dead letters: what may be a secret in them is left out.

It refuses to fail: whatever it is given, it returns something that can be shown.
"""

from __future__ import annotations

import re
from typing import Final

#: What stands where something was left out.
OMITTED: Final = "…"

_MAX_CHARACTERS: Final = 2048
_HOST_AND_PORT: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]*\]|[^\[\]:@]*)(?::[0-9]*)?")


def redact_url(url: str) -> str:
    """Return `url` with its scheme, host, port and path; user information is dropped, a query becomes `?…`.

    SAS tokens, presigned urls and passwords live in what is dropped. Text that is no url keeps what precedes its
    first `:`, `?`, `#` or `@`.
    """
    text = "".join(c if c.isprintable() else "\ufffd" for c in str(url)[:_MAX_CHARACTERS])
    scheme, separator, rest = text.partition("://")
    if not separator or re.search(r"[?#@]", scheme):
        kept = re.split(r"[:?#@]", text, maxsplit=1)[0]
        return kept if kept == text else kept + OMITTED
    base, query, _ = rest.partition("#")[0].partition("?")
    authority, slash, path = base.partition("/")
    host = authority.rpartition("@")[2]
    match = _HOST_AND_PORT.fullmatch(host)
    # `user:1/2@host`, `user:@/1@host`: with a slash or a question mark in the password, what looks like a host or a
    # path is the secret.
    may_hold_password = ":" in authority or "@" in authority
    if match is None or (may_hold_password and "@" in rest[len(authority) :]):
        return f"{scheme}://{OMITTED}"
    return f"{scheme}://{host}{slash}{path}{f'?{OMITTED}' if query else ''}"
