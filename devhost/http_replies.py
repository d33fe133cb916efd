"""Owns the bytes of a reply: its head, the framing of its body, and which replies have none."""

import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from devhost.http_messages import Response

#: The host writes its own framing of the body.
_FRAMING_HEADERS = frozenset({"content-length", "transfer-encoding", "connection"})
_BODILESS = frozenset({204, 205, 304})


def encode_response(response: Response, *, is_head: bool, version: str, keeps_alive: bool) -> bytes:
    """Return a reply to a request of an HTTP `version`; to HEAD the head alone."""
    status = response.status
    lines = [f"HTTP/1.1 {status} {_phrase(status)}", f"Date: {_date(int(time.time()))}", "Server: Kestrel"]
    lines += [f"{name}: {value}" for name, value in response.headers if name.lower() not in _FRAMING_HEADERS]
    if status not in (204, 304):
        lines.append(f"Content-Length: {0 if status == 205 else len(response.body)}")
    if not keeps_alive:
        lines.append("Connection: close")
    elif version == "1.0":
        lines.append("Connection: keep-alive")
    head = "\r\n".join([*lines, "", ""]).encode()
    body = b"" if is_head or status in _BODILESS else response.body
    return head + body


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
