"""Timers with a clock of the test's own."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from devhost.functions import Binding, Function
from devhost.invoker import Occasion
from devhost.messages import Outcome
from devhost.timer_listener import TimerListener

START = datetime(2026, 11, 21, 1, 2, 3, tzinfo=UTC)


class Clock:
    """Time that passes when someone sleeps; after `runs` invocations sleeping lasts for ever."""

    def __init__(self, runs: int) -> None:
        self.now = START
        self.runs = runs
        self.infos: list[dict[str, Any]] = []
        self.times: list[datetime] = []
        self.is_over = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        if len(self.times) == self.runs:
            self.is_over.set()
            await asyncio.Event().wait()
        self.now += timedelta(seconds=seconds)

    async def invoke(self, _function: Function, occasion: Occasion) -> Outcome:
        self.times.append(self.now)
        self.infos.append(json.loads(occasion.value.data))
        self.now += timedelta(seconds=90)  # each run takes a minute and a half
        return Outcome(True)


async def run(schedule: str, runs: int, *, run_on_startup: bool = False) -> Clock:
    clock = Clock(runs)
    properties = {"schedule": schedule, "runOnStartup": run_on_startup}
    function = Function("tick", "id", (Binding("timerTrigger", "timer", "IN", properties),))
    listener = TimerListener(function, clock.invoke, now=lambda: clock.now, sleep=clock.sleep)
    listener.start()
    await clock.is_over.wait()
    await listener.stop()
    return clock


async def test_a_timer_fires_at_its_occurrences_and_skips_those_that_a_long_run_covers() -> None:
    clock = await run("0 * * * * *", runs=3)

    assert [time.isoformat()[11:19] for time in clock.times] == ["01:03:00", "01:05:00", "01:07:00"]


async def test_run_on_startup_fires_at_once_and_then_on_schedule() -> None:
    clock = await run("0 0 * * * *", runs=2, run_on_startup=True)

    assert [time.isoformat()[11:19] for time in clock.times] == ["01:02:03", "02:00:00"]


async def test_the_function_is_told_last_and_next_and_that_it_is_not_past_due() -> None:
    clock = await run("0 0 * * * *", runs=2)

    first, second = clock.infos
    assert first["IsPastDue"] is False
    assert first["ScheduleStatus"]["Next"] == "2026-11-21T03:00:00+00:00"
    assert second["ScheduleStatus"]["Last"] == "2026-11-21T02:00:00+00:00"
