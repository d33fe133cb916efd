"""Owns a timer trigger: waits for each occurrence of its schedule and invokes its function, one run at a time.

It keeps no schedule status over restarts, so nothing is ever past due at start.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta

from devhost.cron import parse_schedule
from devhost.functions import Function
from devhost.invoker import Invoke, Occasion
from devhost.messages import Outcome, Value

_TIME_SPAN = re.compile(r"^(?:(\d+)\.)?(\d{1,2}):(\d{2}):(\d{2})$")

NextOccurrence = Callable[[datetime], datetime]


def parse_timer(expression: str) -> NextOccurrence:
    """Return the schedule's function from a time to the next occurrence; a TimeSpan is a fixed interval.

    Raises ConfigurationError.
    """
    span = _TIME_SPAN.match(expression.strip())
    if span is None:
        return parse_schedule(expression).next_after
    days, hours, minutes, seconds = (int(text or 0) for text in span.groups())
    interval = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    return lambda moment: moment + interval


class TimerListener:
    """Runs one timer function on its schedule, in UTC."""

    def __init__(
        self,
        function: Function,
        invoke: Invoke,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._function = function
        self._invoke = invoke
        self._now = now
        self._sleep = sleep
        properties = function.trigger.properties
        self._next_occurrence = parse_timer(str(properties["schedule"]))
        self._run_on_startup = bool(properties.get("runOnStartup"))
        self._last: datetime | None = None
        self._loop: asyncio.Task[None] | None = None
        self._run: asyncio.Task[Outcome] | None = None

    def start(self) -> None:
        self._loop = asyncio.create_task(self._run_on_schedule())

    def stop_firing(self) -> None:
        """Fire no more; a run that has begun goes on."""
        if self._loop is not None:
            self._loop.cancel()

    async def stop(self) -> None:
        """Fire no more and wait for the run that has begun."""
        self.stop_firing()
        if self._run is not None:
            await asyncio.wait([self._run])

    async def _run_on_schedule(self) -> None:
        if self._run_on_startup:
            await self._fire(self._next_occurrence(self._now()))
        while True:
            due = self._next_occurrence(self._now())
            while (remaining := (due - self._now()).total_seconds()) > 0:
                await self._sleep(remaining)
            await self._fire(self._next_occurrence(due))

    async def _fire(self, following: datetime) -> None:
        occasion = make_occasion(self._last, following)
        self._last = self._now()
        self._run = asyncio.ensure_future(self._invoke(self._function, occasion))
        # Shielded: stopping ends the schedule, never a run that has begun.
        await asyncio.shield(self._run)


def make_occasion(last: datetime | None, following: datetime) -> Occasion:
    """Make the trigger value of one run, in the shape of the real host's TimerInfo."""
    never = "0001-01-01T00:00:00+00:00"
    status: Mapping[str, str] = {
        "Last": last.isoformat() if last else never,
        "LastUpdated": last.isoformat() if last else never,
        "Next": following.isoformat(),
    }
    info = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": status, "IsPastDue": False}
    return Occasion(Value("json", json.dumps(info)), reason=f"Timer fired at {datetime.now(UTC).isoformat()}")
