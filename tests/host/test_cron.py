"""NCRONTAB schedules."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from devhost.cron import parse_schedule
from devhost.errors import ConfigurationError
from devhost.timer_listener import parse_timer


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "moment", "following"),
    [
        ("0 */5 * * * *", "2026-11-21T01:02:03", "2026-11-21T01:05:00"),
        ("*/5 * * * *", "2026-11-21T01:02:03", "2026-11-21T01:05:00"),
        ("0 */5 * * * *", "2026-11-21T01:05:00", "2026-11-21T01:10:00"),
        ("* * * * * *", "2026-11-21T01:05:00.999", "2026-11-21T01:05:01"),
        ("0 0 * * * *", "2026-12-31T23:30:00", "2027-01-01T00:00:00"),
        ("0 30 9 * * 1-5", "2026-11-20T10:00:00", "2026-11-23T09:30:00"),
        ("0 30 9 * * mon,fri", "2026-11-21T10:00:00", "2026-11-23T09:30:00"),
        ("0 0 0 * * 0", "2026-11-21T10:00:00", "2026-11-22T00:00:00"),
        ("0 0 0 * * 7", "2026-11-21T10:00:00", "2026-11-22T00:00:00"),
        ("0 0 12 1 jan,jul *", "2026-11-21T10:00:00", "2027-01-01T12:00:00"),
        ("15,45 10-12 * * * *", "2026-11-21T01:12:45", "2026-11-21T02:10:15"),
        ("0 10-40/15 * * * *", "2026-11-21T01:26:00", "2026-11-21T01:40:00"),
        ("30/10 * * * * *", "2026-11-21T01:00:41", "2026-11-21T01:00:50"),
        ("0 0 0 29 2 *", "2026-11-21T10:00:00", "2028-02-29T00:00:00"),
        ("0 0 0 13 * 5", "2026-11-21T10:00:00", "2027-08-13T00:00:00"),
        ("0 0 0 ? * *", "2026-11-21T10:00:00", "2026-11-22T00:00:00"),
        ("00:05:00", "2026-11-21T01:02:03", "2026-11-21T01:07:03"),
        ("1.00:00:00", "2026-11-21T01:02:03", "2026-11-22T01:02:03"),
    ],
)
def test_the_next_occurrence_comes_after_the_moment(expression: str, moment: str, following: str) -> None:
    assert parse_timer(expression)(at(moment)) == at(following)


@pytest.mark.parametrize(
    "expression", ["", "* * * *", "60 * * * * *", "* * * 0 * *", "*/0 * * * * *", "a * * * * *", "5-1 * * * * *"]
)
def test_an_expression_that_is_not_ncrontab_is_refused(expression: str) -> None:
    with pytest.raises(ConfigurationError, match="schedule expression"):
        parse_schedule(expression)


def test_a_schedule_that_never_occurs_says_so() -> None:
    with pytest.raises(ConfigurationError, match="never occurs"):
        parse_schedule("0 0 0 30 2 *").next_after(at("2026-11-21T00:00:00"))
