from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from inference.batch import rows
from inference.batch.parts import Part, count
from inference.batch.ports import ModelPin
from inference.batch.retry import Again, Final, RowError
from inference.batch.rows import Attempt, Row, RowStatus

WHY = RowError("image_not_found", "Gone.", False)
FIRST = Attempt("2026-01-01T00:00:00+00:00", ModelPin("digits", "1", "ab" * 32), "cd" * 16)
LATER = replace(FIRST, at="2026-01-01T00:01:00+00:00")
BLANK = Row(3, "x", "https://a.example/3")
SUCCEEDED = rows.succeed(BLANK, [{"label": "7", "score": 0.5}], FIRST)
FAILED = rows.judge(BLANK, Final(WHY), FIRST)
PENDING = rows.judge(BLANK, Again(WHY, 1.5, is_charged=True), FIRST)

errors = st.builds(RowError, st.text(max_size=5), st.text(max_size=20), st.booleans())
some_rows = st.builds(
    Row,
    index=st.just(3),
    id=st.just("x"),
    url=st.just("https://a.example/3"),
    status=st.sampled_from(RowStatus),
    attempts=st.integers(0, 3),
    error=st.one_of(st.none(), errors),
    round=st.integers(0, 2),
    turn=st.integers(0, 3),
    is_purged=st.booleans(),
)


@pytest.mark.parametrize(
    "row", [BLANK, SUCCEEDED, FAILED, PENDING, rows.reopen(FAILED, 1), replace(FAILED, is_purged=True)]
)
def test_a_row_survives_its_part(row: Row) -> None:
    assert rows.decode(rows.encode(row)) == row


@pytest.mark.parametrize("text", [',"ledger":{}}', '\\",\\"ledger\\":{', "}", '"ledger"'])
def test_the_results_line_is_the_row_without_its_ledger_whatever_the_predictions_hold(text: str) -> None:
    row = rows.succeed(BLANK, [{"label": text, "ledger": {"ledger": [text]}}], FIRST)

    promised = {
        "index": 3,
        "id": "x",
        "url": "https://a.example/3",
        "status": "succeeded",
        "model": "digits",
        "version": "1",
        "predictions": [{"label": text, "ledger": {"ledger": [text]}}],
        "attempts": 1,
    }
    assert rows.strip(rows.encode(row)) == orjson.dumps(promised)


def test_the_first_time_stays_and_the_last_one_moves() -> None:
    row = rows.succeed(PENDING, [], LATER)

    assert (row.first_at, row.last_at, row.attempts, row.tries) == (FIRST.at, LATER.at, 2, 2)
    assert row.error is None


def test_an_attempt_that_is_not_charged_leaves_no_trace_but_its_turn() -> None:
    row = rows.judge(PENDING, Again(WHY, 9.0, is_charged=False), LATER)

    assert row == replace(PENDING, turn=PENDING.turn + 1, wait_seconds=9.0)


def test_a_reopened_row_keeps_its_history_and_its_attempts() -> None:
    once = rows.reopen(FAILED, 1)
    again = rows.judge(once, Final(WHY), LATER)
    twice = rows.reopen(again, 2)

    assert (once.status, once.round, once.turn, once.tries, once.attempts) == (RowStatus.PENDING, 1, 0, 0, 1)
    assert [(past["round"], past["attempts"]) for past in twice.history] == [(0, 1), (1, 2)]


@pytest.mark.parametrize("row", [BLANK, SUCCEEDED, PENDING, replace(FAILED, is_purged=True), replace(FAILED, round=1)])
def test_only_a_dead_row_of_an_earlier_round_is_reopened(row: Row) -> None:
    assert rows.reopen(row, 1) == row


def test_waiting_costs_a_turn_and_the_time_that_the_message_was_delayed() -> None:
    row = rows.pass_turn(replace(PENDING, wait_seconds=10.0), 4.0)

    assert (row.wait_seconds, row.turn) == (6.0, PENDING.turn + 1)
    assert rows.pass_turn(row, 60.0).wait_seconds == 0.0


@pytest.mark.parametrize(
    ("stored", "mine", "winner"),
    [
        (BLANK, SUCCEEDED, SUCCEEDED),
        (SUCCEEDED, BLANK, SUCCEEDED),
        (SUCCEEDED, FAILED, SUCCEEDED),
        (FAILED, SUCCEEDED, FAILED),
        (FAILED, PENDING, FAILED),
        (BLANK, PENDING, PENDING),
        (PENDING, BLANK, PENDING),
        (rows.reopen(FAILED, 1), SUCCEEDED, rows.reopen(FAILED, 1)),
        (SUCCEEDED, rows.reopen(FAILED, 1), rows.reopen(FAILED, 1)),
    ],
)
def test_the_later_round_wins_and_in_a_round_the_first_final_row(stored: Row, mine: Row, winner: Row) -> None:
    assert rows.newer(stored, mine) == winner


@given(some_rows, some_rows)
def test_a_final_row_of_its_round_is_never_replaced(stored: Row, mine: Row) -> None:
    merged = rows.newer(stored, mine)

    assert merged in (stored, mine)
    assert merged.round == max(stored.round, mine.round)
    if not stored.is_pending and mine.round <= stored.round:
        assert merged == stored


@given(some_rows, some_rows)
def test_merging_again_changes_nothing(stored: Row, mine: Row) -> None:
    merged = rows.newer(stored, mine)

    assert rows.newer(merged, mine) == merged


@given(st.lists(some_rows, min_size=1, max_size=6))
def test_the_counts_of_a_part_are_a_recount_of_its_rows(listed: list[Row]) -> None:
    part = Part(tuple(replace(row, index=index) for index, row in enumerate(listed)))

    metadata = count(part)

    assert int(metadata["total"]) == len(listed)
    assert int(metadata["succeeded"]) + int(metadata["failed"]) + int(metadata["pending"]) == len(listed)
    assert int(metadata["dead"]) == sum(row.status is RowStatus.FAILED and not row.is_purged for row in listed)
