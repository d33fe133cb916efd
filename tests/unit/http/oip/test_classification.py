"""The best classes of an output as texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from inference.errors import InvalidRequest
from inference.http.oip.classification import name_classes


@pytest.mark.parametrize(
    ("output", "count", "named"),
    [
        (np.array([1, 5, 10, 4], np.uint8), 2, ["10:2:c", "5:1:b"]),
        (np.array([[1, 5], [7, 4]], np.int64), 1, [["5:1:b"], ["7:0:a"]]),
        (np.array([[0.5, 0.5, 0.25]], np.float32), 3, [["0.500000:0:a", "0.500000:1:b", "0.250000:2:c"]]),
        (np.array([[1, 2, 3, 4]], np.float16), 1, [["4.000000:3"]]),
        (np.array([[-1.0, np.nan, 3.0]], np.float64), 3, [["3.000000:2:c", "-1.000000:0:a", "nan:1:b"]]),
        (np.array([[np.nan, np.inf, -np.inf]], np.float32), 3, [["inf:1:b", "-inf:2:c", "nan:0:a"]]),
        (np.array([[[[1.0]], [[2.0]]]], np.float32), 1, [["2.000000:1:b"]]),
        (np.array([[1, 2]], np.int8), 9, [["2:1:b", "1:0:a"]]),
    ],
    ids=str,
)
def test_they_come_highest_first_with_value_index_and_label(output: Any, count: int, named: list[Any]) -> None:
    assert name_classes("x", output, count, ("a", "b", "c")).tolist() == named


def test_more_classes_than_a_reply_names_are_refused() -> None:
    output = np.zeros((2, 60_000), np.float32)

    assert name_classes("x", output, 50_000, ()).shape == (2, 50_000)
    with pytest.raises(InvalidRequest, match="100000 classes at most, not 120000"):
        name_classes("x", output, 2**31 - 1, ())


@pytest.mark.parametrize(
    "output",
    [np.array([True]), np.array(["a"], object), np.array(1.0), np.array(7)],
    ids=lambda array: str(array.dtype),
)
def test_what_has_no_classes_is_refused(output: Any) -> None:
    with pytest.raises(InvalidRequest, match="Output x"):
        name_classes("x", output, 1, ())


@pytest.mark.parametrize(
    ("shape", "named"),
    [((0,), (0,)), ((0, 4), (0, 2)), ((3, 0), (3, 0)), ((0, 2, 2), (0, 2)), ((10**12, 0), (10**12, 0))],
    ids=str,
)
def test_an_empty_output_has_as_many_rows_as_items_and_no_class(shape: tuple[int, ...], named: tuple[int, ...]) -> None:
    assert name_classes("x", np.empty(shape, np.float32), 2, ()).shape == named
