"""Times as people write them on a command line; it refuses anything that could be read in two ways."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from inference.cli.failure import WrongCall

_AGO = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_since(text: str | None, now: datetime | None = None) -> str | None:
    """Return `text` as ISO 8601 in UTC: a date or time, UTC where it has no offset, or an age such as `90m`.

    Raises WrongCall.
    """
    if text is None:
        return None
    try:
        if age := _AGO.fullmatch(text.strip()):
            moment = (now or datetime.now(UTC)) - timedelta(**{_UNITS[age[2]]: int(age[1])})
        else:
            moment = datetime.fromisoformat(text.strip())
            moment = moment.replace(tzinfo=moment.tzinfo or UTC)
        return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError):  # the latter: before the year 1, or after 9999
        raise WrongCall(f"--since {text!r} is not a time like 2026-05-01T12:00Z or an age like 90m, 6h, 2d.") from None
