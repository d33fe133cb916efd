from __future__ import annotations

import pytest

from inference.batch.finish import next_look
from inference.batch.messages import FinishMessage
from inference.batch.survey import Survey, end_state
from inference.settings import BatchSettings

SETTINGS = BatchSettings(finish_poll_seconds=2.0, finish_poll_cap_seconds=60.0)


def survey(done: int, total: int = 1000) -> Survey:
    return Survey(total, 10, succeeded=done)


@pytest.mark.parametrize(
    ("before", "now", "last_delay", "has_moved", "expected"),
    [
        (0, 0, 2.0, False, 4.0),
        (0, 0, 50.0, False, 60.0),
        (0, 0, 0.0, False, 2.0),
        (0, 100, 10.0, True, 45.0),
        (0, 999, 60.0, True, 2.0),
        (0, 1, 10.0, True, 60.0),
        (100, 100, 8.0, True, 16.0),
    ],
)
def test_the_next_look_follows_the_pace(
    before: int, now: int, last_delay: float, has_moved: bool, expected: float
) -> None:
    message = FinishMessage(batch_id="b", done=before, delay_seconds=last_delay)

    assert next_look(SETTINGS, message, survey(now), has_moved=has_moved) == expected


@pytest.mark.parametrize(
    ("threshold", "errors", "state"),
    [
        (-1, {}, "succeeded"),
        (-1, {"image_not_found": 9}, "succeeded"),
        (9, {"image_not_found": 9}, "succeeded"),
        (8, {"image_not_found": 9}, "failed"),
        (0, {"image_not_found": 1}, "failed"),
        (0, {"batch_cancelled": 1}, "cancelled"),
    ],
)
def test_rows_alone_decide_how_a_batch_has_ended(threshold: int, errors: dict[str, int], state: str) -> None:
    assert end_state(threshold, sum(errors.values()), errors) == state
