"""Makes urls fit for logs, spans, results and dead letters: what may be a secret in them is left out.

It refuses to fail: whatever it is given, it returns something that can be shown.
"""

from __future__ import annotations

import json
import re
from typing import Final

#: What stands where something was left out.
OMITTED: Final = "…"

_MAX_CHARACTERS: Final = 2048
_HOST_AND_PORT: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]*\]|[^\[\]:@]*)(?::[0-9]*)?")

#: A scheme and what follows up to a space or a quote; JSON may escape the slashes, or anything else.
_URL_IN_TEXT: Final = re.compile(r"""(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]*:(?:\\?/|\\u002[fF]){2}[^\s"<>]*""")

#: What is left of something that was meant for a url, or has a secret by another name: user information, a query, and a
#: key of a connection string, whose `=` JSON may escape.
_USER_IN_TEXT: Final = re.compile(r"""//[^\s"<>/@]*@""")
_QUERY_IN_TEXT: Final = re.compile(r"""\?[^\s"<>…][^\s"<>]*""")
_KEY_IN_TEXT: Final = re.compile(
    r"""((?:key|sig|signature|password|pwd|secret|token)(?:=|\\u003d))[^\s"<>;&…]+""", re.IGNORECASE
)


def redact_url(url: str) -> str:
    """Return `url` with its scheme, host, port and path; user information is dropped, a query becomes `?…`.

    SAS tokens, presigned urls and passwords live in what is dropped. Text that is no url keeps what precedes its
    first `:`, `?`, `#` or `@`.
    """
    text = str(url)[:_MAX_CHARACTERS]
    if not text.isprintable():
        text = "".join(c if c.isprintable() else "\ufffd" for c in text)
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
    if match is None or not authority or (may_hold_password and "@" in rest[len(authority) :]):
        return f"{scheme}://{OMITTED}"
    return f"{scheme}://{host}{slash}{path}{f'?{OMITTED}' if query else ''}"


def redact_text(text: str) -> str:
    """Return `text` (a manifest as somebody sent it, well-formed or not) with each url in it redacted.

    JSON may write a url's letters as escapes; such a url is decoded first, and where that fails it is cut off. Queries,
    user information and keys are left out of what is no url, too.
    """
    text = _URL_IN_TEXT.sub(lambda match: _redact_escaped(match[0]), text)
    text = _USER_IN_TEXT.sub("//", text)
    text = _QUERY_IN_TEXT.sub(f"?{OMITTED}", text)
    return _KEY_IN_TEXT.sub(rf"\1{OMITTED}", text)


def _redact_escaped(url: str) -> str:
    if "\\" not in url:
        return redact_url(url)
    try:
        decoded = json.loads(f'"{url}"')
    except ValueError:
        return redact_url(url.replace("\\/", "/").partition("\\")[0]) + OMITTED
    return json.dumps(redact_url(decoded), ensure_ascii=False)[1:-1]
