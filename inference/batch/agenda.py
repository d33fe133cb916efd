"""Owns what a shard message means for the rows of its range, and what a delivery makes of them, as pure functions.

It refuses clocks and storage: which rows are due follows from rounds, turns and the delays of messages.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from inference.batch import rows
from inference.batch.messages import ShardMessage
from inference.batch.parts import Part
from inference.batch.retry import RetryPolicy, decide
from inference.batch.rows import Attempt, Row
from inference.batch.scoring import Outcomes
from inference.batch.stops import Stop


class Agenda(Struct, frozen=True):
    """What one message means for the rows of its range that are pending."""

    #: To be scored now.
    due: tuple[Row, ...]
    #: In back-off for longer than this message was delayed.
    waiting: tuple[Row, ...]
    #: Waiting for a later message than this one.
    ahead: tuple[Row, ...]

    @classmethod
    def of(cls, part: Part, message: ShardMessage) -> Agenda:
        """Sort the pending rows of the message's range by what their logical clocks say."""
        now = message.round, message.turn
        pending = [row for row in part.within(message.first, message.count) if row.is_pending]
        open_rows = [row for row in pending if row.clock <= now]
        return cls(
            due=tuple(row for row in open_rows if row.wait_seconds <= message.delay_seconds),
            waiting=tuple(row for row in open_rows if row.wait_seconds > message.delay_seconds),
            ahead=tuple(row for row in pending if row.clock > now),
        )

    @property
    def pending(self) -> Iterable[Row]:
        """Every pending row of the range."""
        return (*self.due, *self.waiting, *self.ahead)

    @property
    def is_empty(self) -> bool:
        """Whether nothing of the range is pending."""
        return not (self.due or self.waiting or self.ahead)


def judge(
    agenda: Agenda,
    outcomes: Outcomes,
    message: ShardMessage,
    attempt: Attempt,
    policy: RetryPolicy,
    jitter: float,
    stop: Stop | None,
) -> dict[int, Row]:
    """Return the rows that a delivery changes, by index.

    One `jitter` serves the whole shard: rows that failed equally often come back together, in one message.
    """
    changes: dict[int, Row] = {}
    for row in (*agenda.due, *agenda.waiting):
        if row.index in outcomes.predictions:
            changed = rows.succeed(row, outcomes.predictions[row.index], attempt)
        elif failure := outcomes.failures.get(row.index):
            changed = rows.judge(row, decide(failure, row.tries + 1, message.stalls, policy, jitter), attempt)
        else:
            changed = rows.pass_turn(row, message.delay_seconds)
            if outcomes.is_stalled:  # not begun, since it would have met the same failure of ours
                wait = max(changed.wait_seconds, policy.backoff(message.stalls + 1, jitter))
                changed = replace(changed, wait_seconds=wait)
        changes[row.index] = changed
    for row in agenda.pending:
        changed = changes.get(row.index, row)
        if stop and stop.ends(changed):
            changes[row.index] = rows.give_up(changed, stop.error, attempt)
    return changes


def follow_up(message: ShardMessage, pending: Iterable[Row], *, is_stalled: bool) -> ShardMessage:
    """Return the message that pending rows wait for, to be delayed by the shortest of their waits."""
    left = list(pending)
    round_, turn = max(row.clock for row in left)
    delay = float(math.ceil(min(row.wait_seconds for row in left)))  # the service counts whole seconds
    stalls = message.stalls + 1 if is_stalled else 0
    return message.changed(round=round_, turn=turn, delay_seconds=delay, stalls=stalls, recoveries=0)
