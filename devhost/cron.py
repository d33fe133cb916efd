"""Owns NCRONTAB expressions: six fields with seconds first, or five without, and the time of the next occurrence."""

from datetime import datetime, timedelta

from msgspec import Struct

from devhost.errors import ConfigurationError

_FIELDS = (("second", 0, 59), ("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 6))
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

#: How far ahead an occurrence is looked for: 29 February on a given weekday comes within 28 years, or 40 over 2100.
_HORIZON_DAYS = 41 * 366


class Schedule(Struct, frozen=True):
    """The values that each field allows."""

    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    def next_after(self, moment: datetime) -> datetime:
        """Return the first occurrence after `moment`. Raises ConfigurationError when there is none, as for 30 February.

        Day and weekday must both match, as NCRONTAB has it (cron takes either).
        """
        start = moment.replace(microsecond=0) + timedelta(seconds=1)
        day = start.replace(hour=0, minute=0, second=0)
        for _ in range(_HORIZON_DAYS):
            if self._is_on(day):
                time_of_day = self._first_time(start if start.date() == day.date() else day)
                if time_of_day is not None:
                    hour, minute, second = time_of_day
                    return day.replace(hour=hour, minute=minute, second=second)
            day += timedelta(days=1)
        raise ConfigurationError("The schedule never occurs.")

    def _is_on(self, day: datetime) -> bool:
        return day.month in self.months and day.day in self.days and day.isoweekday() % 7 in self.weekdays

    def _first_time(self, earliest: datetime) -> tuple[int, int, int] | None:
        """Return the first allowed (hour, minute, second) of the day that is not before `earliest`."""
        floor = (earliest.hour, earliest.minute, earliest.second)
        for hour in sorted(h for h in self.hours if h >= floor[0]):
            for minute in sorted(m for m in self.minutes if (hour, m) >= floor[:2]):
                for second in sorted(self.seconds):
                    if (hour, minute, second) >= floor:
                        return hour, minute, second
        return None


def parse_schedule(expression: str) -> Schedule:
    """Parse a schedule. Raises ConfigurationError for one that is not NCRONTAB."""
    fields = expression.split()
    if len(fields) == 5:
        fields = ["0", *fields]
    if len(fields) != 6:
        raise ConfigurationError(
            f"The schedule expression '{expression}' was not recognized as a valid cron expression."
        )
    try:
        return Schedule(*(_parse_field(text, *bounds) for text, bounds in zip(fields, _FIELDS, strict=True)))
    except ValueError as error:
        raise ConfigurationError(f"The schedule expression '{expression}' is not valid: {error}.") from error


def _parse_field(text: str, name: str, low: int, high: int) -> frozenset[int]:
    values: set[int] = set()
    for item in text.split(","):
        spread, _, step_text = item.partition("/")
        step = int(step_text) if step_text else 1
        if step < 1:
            raise ValueError(f"a step in the field {name} is not positive")
        first, last = _parse_range(spread, name, low, high, has_step=bool(step_text))
        values.update(range(first, last + 1, step))
    return frozenset(values)


def _parse_range(text: str, name: str, low: int, high: int, *, has_step: bool) -> tuple[int, int]:
    if text in {"*", "?"}:
        return low, high
    start, dash, end = text.partition("-")
    first = _number(start, name)
    last = _number(end, name) if dash else (high if has_step else first)
    if name == "weekday" and last == 7 and first == 7:  # Sunday again, as in cron
        first = last = 0
    if not low <= first <= last <= high:
        raise ValueError(f"'{text}' is out of bounds ({low} to {high}) in the field {name}")
    return first, last


def _number(text: str, name: str) -> int:
    names = {"month": _MONTHS, "weekday": _WEEKDAYS}.get(name, ())
    if text[:3].lower() in names:
        return names.index(text[:3].lower()) + (1 if name == "month" else 0)
    if not text.isdecimal():
        raise ValueError(f"'{text}' is not a number in the field {name}")
    return int(text)
