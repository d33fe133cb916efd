from __future__ import annotations

import pytest
from msgspec.structs import replace

from inference.batch import rows
from inference.batch.agenda import Agenda, follow_up, judge
from inference.batch.messages import ShardMessage
from inference.batch.parts import Part
from inference.batch.ports import ModelPin
from inference.batch.retry import RetryPolicy, describe
from inference.batch.rows import Attempt, Row, RowStatus
from inference.batch.scoring import Outcomes
from inference.batch.stops import Stop
from inference.errors import BatchCancelled, ImageNotFound, ModelUnavailable, OriginThrottled, OriginUnavailable

POLICY = RetryPolicy(max_attempts=3, base_seconds=4.0, cap_seconds=60.0)
ATTEMPT = Attempt("2026-01-01T00:00:00+00:00", ModelPin("digits", "1", "ab" * 32), "cd" * 16)
MESSAGE = ShardMessage(batch_id="b", shard=0, offset=0, bytes=1, first=0, count=4)


def part(*changes: dict[str, object]) -> Part:
    return Part(tuple(replace(Row(index, str(index), "u"), **change) for index, change in enumerate(changes)))


def indexes(listed: tuple[Row, ...]) -> list[int]:
    return [row.index for row in listed]


@pytest.mark.parametrize(
    ("row", "message", "place"),
    [
        ({}, {}, "due"),
        ({"status": RowStatus.SUCCEEDED}, {}, None),
        ({"turn": 1}, {}, "ahead"),
        ({"turn": 1}, {"turn": 1}, "due"),
        ({"turn": 1}, {"turn": 2}, "due"),
        ({"round": 1}, {"turn": 5}, "ahead"),
        ({"turn": 5}, {"round": 1}, "due"),
        ({"round": 1, "turn": 1}, {"round": 1}, "ahead"),
        ({"wait_seconds": 3.0}, {"delay_seconds": 2.0}, "waiting"),
        ({"wait_seconds": 3.0}, {"delay_seconds": 3.0}, "due"),
        ({}, {"first": 1}, None),
    ],
)
def test_a_row_is_due_by_what_rounds_turns_and_delays_say(
    row: dict[str, object], message: dict[str, object], place: str | None
) -> None:
    agenda = Agenda.of(part(row), MESSAGE.changed(count=1, **message))

    assert [name for name in ("due", "waiting", "ahead") if getattr(agenda, name)] == ([place] if place else [])
    assert agenda.is_empty is (place is None)


def test_a_delivery_makes_of_each_row_what_came_out_for_it() -> None:
    agenda = Agenda.of(part({}, {}, {}, {}), MESSAGE)
    outcomes = Outcomes({0: ["p"]})
    outcomes.fail(1, ImageNotFound())
    outcomes.fail(2, OriginThrottled(retry_after_seconds=30))

    changes = judge(agenda, outcomes, MESSAGE, ATTEMPT, POLICY, 0.5, None)

    assert [changes[index].status for index in range(4)] == ["succeeded", "failed", "pending", "pending"]
    assert [changes[index].attempts for index in range(4)] == [1, 1, 1, 0]
    assert [changes[index].wait_seconds for index in (2, 3)] == [30.0, 0.0]


def test_items_that_a_failure_of_ours_kept_from_being_begun_wait_with_the_one_that_met_it() -> None:
    agenda = Agenda.of(part({}, {}), MESSAGE)
    outcomes = Outcomes()
    outcomes.fail(0, ModelUnavailable())

    changes = judge(agenda, outcomes, MESSAGE, ATTEMPT, POLICY, 0.5, None)

    assert [(row.attempts, row.wait_seconds) for row in changes.values()] == [(0, 2.0), (0, 2.0)]


def test_a_stop_ends_every_pending_row_up_to_its_round_and_keeps_what_was_scored() -> None:
    stop = Stop(0, describe(BatchCancelled()))
    agenda = Agenda.of(part({}, {"turn": 3}, {"round": 1}, {}), MESSAGE)

    changes = judge(agenda, Outcomes({3: ["p"]}), MESSAGE, ATTEMPT, POLICY, 0.5, stop)

    assert {index: row.status.value for index, row in changes.items()} == {0: "failed", 1: "failed", 3: "succeeded"}
    assert changes[0].error == stop.error
    assert changes[0].attempts == 0


def test_the_next_message_comes_when_the_first_row_is_due_and_is_for_all_of_them() -> None:
    pending = [Row(0, "0", "u", round=1, turn=2, wait_seconds=7.2), Row(1, "1", "u", turn=9, wait_seconds=3.1)]

    following = follow_up(MESSAGE.changed(recoveries=3, stalls=2), pending, is_stalled=False)

    assert (following.round, following.turn, following.delay_seconds) == (1, 2, 4.0)
    assert (following.stalls, following.recoveries) == (0, 0)
    assert follow_up(following, pending, is_stalled=True).stalls == 1
    left = Agenda.of(Part(tuple(pending)), following)
    assert (indexes(left.due), indexes(left.waiting), indexes(left.ahead)) == ([1], [0], [])


def test_a_chain_of_messages_ends_every_row_within_its_attempts() -> None:
    state, message = part({}, {}, {}, {}), MESSAGE
    failures = {0: OriginUnavailable(), 1: OriginThrottled(retry_after_seconds=25), 2: OriginUnavailable()}

    for _ in range(20):
        agenda = Agenda.of(state, message)
        outcomes = Outcomes({row.index: ["p"] for row in agenda.due if row.index not in failures})
        for row in agenda.due:
            if failure := failures.get(row.index):
                outcomes.fail(row.index, failure)
        state = state.changed(judge(agenda, outcomes, message, ATTEMPT, POLICY, 0.5, None))
        pending = [row for row in state.rows if row.is_pending]
        if not pending:
            break
        message = follow_up(message, pending, is_stalled=False)

    assert [(row.status.value, row.attempts) for row in state.rows] == [
        ("failed", 3),
        ("failed", 3),
        ("failed", 3),
        ("succeeded", 1),
    ]
    assert rows.encode(state.rows[3])
