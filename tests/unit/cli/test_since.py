from __future__ import annotations

from datetime import UTC, datetime

import pytest

from inference.cli.failure import WrongCall
from inference.cli.since import parse_since

NOW = datetime(2026, 5, 2, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90m", "2026-05-02T10:30:00Z"),
        ("6h", "2026-05-02T06:00:00Z"),
        ("2d", "2026-04-30T12:00:00Z"),
        ("30s", "2026-05-02T11:59:30Z"),
        ("2026-05-01", "2026-05-01T00:00:00Z"),
        ("2026-05-01T12:00", "2026-05-01T12:00:00Z"),
        ("2026-05-01T12:00Z", "2026-05-01T12:00:00Z"),
        ("2026-05-01T12:00+02:00", "2026-05-01T10:00:00Z"),
    ],
)
def test_ages_and_times_become_utc(text: str, moment: str) -> None:
    assert parse_since(text, NOW) == moment


def test_no_time_stays_none() -> None:
    assert parse_since(None) is None


@pytest.mark.parametrize(
    "text", ["", "yesterday", "5", "1w", "-1h", "2026-13-01", "9999999d", "999999d", "0001-01-01T00:00+14:00"]
)
def test_anything_else_is_a_wrong_call(text: str) -> None:
    with pytest.raises(WrongCall, match="--since"):
        parse_since(text, NOW)
