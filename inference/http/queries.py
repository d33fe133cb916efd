"""Query parameters and JSON bodies of the control routes, read strictly; it refuses to guess what was meant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

import orjson
from msgspec import Struct

from inference.batch.selection import DeadLetterFilter
from inference.errors import InvalidRequest, PayloadTooLarge, UnsupportedMediaType
from inference.http.messages import Request
from inference.schema import Misfit, Table, read

_MAX_CONTROL_BYTES = 64 * 1024
#: Of a query: more than anyone can mean.
MAX_COUNT = 999_999_999
_CODE = re.compile(r"[a-z][a-z_]*")


class Selection(Table, frozen=True):
    """Which dead letters a replay or a purge means; nothing given means all."""

    batch_id: str | None = None
    code: str | None = None
    since: str | None = None
    limit: int | None = None
    dry_run: bool = False

    @property
    def filter(self) -> DeadLetterFilter:
        """The same as the batch path asks for it. Raises InvalidRequest."""
        return DeadLetterFilter(self.batch_id, self.code, read_time(self.since), self.limit)


def read_selection(request: Request) -> Selection:
    """Return the body of a replay or a purge; an empty one means everything. Raises as `read_control` does."""
    misplaced = request.query.keys() & {"batch_id", "since", "limit", "dry_run"}
    if _read_code(request.query) is not None:
        misplaced.add("code")
    if misplaced:
        raise InvalidRequest(f"{min(misplaced)}: it belongs in the body, as JSON.")
    if request.body and not request.is_json and not request.says_nothing_of_its_type:
        raise UnsupportedMediaType("The selection must be JSON.")
    return read_control(Selection, request.body)


def read_control[T: Struct](kind: type[T], body: bytes, *, max_bytes: int = _MAX_CONTROL_BYTES) -> T:
    """Return the small JSON body of a control route, which may be missing. Raises InvalidRequest, PayloadTooLarge."""
    if len(body) > max_bytes:
        raise PayloadTooLarge(f"The body has more than {max_bytes} bytes.")
    try:
        return read(kind, orjson.loads(body) if body else {})
    except orjson.JSONDecodeError:
        raise InvalidRequest("The body is not JSON.") from None
    except Misfit as exc:
        raise InvalidRequest(f"{exc}.") from None


def _read_code(query: Mapping[str, str]) -> str | None:
    """Return the error's code; the platform's own parameter of this name is a key, which has other characters."""
    code = query.get("code", "")
    return code if _CODE.fullmatch(code) else None


def read_filter(query: Mapping[str, str]) -> DeadLetterFilter:
    """Return the filter in a query. Raises InvalidRequest."""
    return DeadLetterFilter(
        batch_id=query.get("batch_id") or None,
        code=_read_code(query),
        since=read_time(query.get("since") or None),
        limit=read_count(query, "limit"),
        after=query.get("next") or None,
    )


def read_count(query: Mapping[str, str], name: str) -> int | None:
    """Return a whole number from 1 to MAX_COUNT. Raises InvalidRequest."""
    text = query.get(name, "")
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > len(str(MAX_COUNT)) or int(text) < 1:
        raise InvalidRequest(f"{name}: a whole number from 1 to {MAX_COUNT}.")
    return int(text)


def read_time(text: str | None) -> datetime | None:
    """Return an ISO 8601 time with its zone. Raises InvalidRequest."""
    if text is None:
        return None
    try:
        # A "+" of the zone that was not percent-encoded arrives as a space.
        time = datetime.fromisoformat(text.replace(" 0", "+0") if text.count(" ") == 1 and "T" in text else text)
    except ValueError:
        raise InvalidRequest("since: an ISO 8601 time, such as 2026-01-31T12:00:00Z.") from None
    if time.tzinfo is None:
        raise InvalidRequest("since: a time zone is missing; end it with Z for UTC.")
    return time
