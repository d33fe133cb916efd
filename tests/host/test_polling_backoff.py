"""The delay between polls of an empty queue."""

from __future__ import annotations

import pytest

from devhost.polling_backoff import PollingBackoff


def middle(low: float, high: float) -> float:
    return (low + high) / 2


@pytest.mark.parametrize(
    ("found", "delays"),
    [
        ([False] * 6, [0.2, 0.3, 0.5, 0.9, 1.7, 2.0]),
        ([False, False, True, False, False], [0.2, 0.3, 0.1, 0.2, 0.3]),
        ([True, True], [0.1, 0.1]),
        ([False] * 5 + [False, False], [0.2, 0.3, 0.5, 0.9, 1.7, 2.0, 2.0]),
    ],
)
def test_delays_double_up_to_the_maximum_and_start_again_after_a_find(found: list[bool], delays: list[float]) -> None:
    backoff = PollingBackoff(2.0, uniform=middle)

    assert [backoff.next_delay_seconds(found_something=it) for it in found] == pytest.approx(delays)


def test_the_growth_is_spread_by_a_fifth_each_way() -> None:
    spans: list[tuple[float, float]] = []

    def record(low: float, high: float) -> float:
        spans.append((low, high))
        return high

    backoff = PollingBackoff(60.0, uniform=record)

    assert backoff.next_delay_seconds(found_something=False) == pytest.approx(0.22)
    assert spans == [(0.8, 1.2)]
