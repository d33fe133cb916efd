"""Inputs that do not fit each other, which only the graph can tell, and tells in its own words."""

from __future__ import annotations

import numpy as np
import pytest

from inference.errors import InvalidRequest
from inference.http.oip.inputs import check_equal_sizes
from inference.models.signature import Signature, TensorInfo

type Dimensions = tuple[str | int | None, ...]


def signature_of(*inputs: Dimensions) -> Signature:
    """Inputs `in0`, `in1`, … with these dimensions: a name, a fixed size, or neither."""
    tensors = [
        TensorInfo(
            f"in{number}",
            "float32",
            tuple(size if isinstance(size, int) else None for size in dimensions),
            tuple(size if isinstance(size, str) else None for size in dimensions),
        )
        for number, dimensions in enumerate(inputs)
    ]
    return Signature(tuple(tensors), ())


@pytest.mark.parametrize(
    ("inputs", "shapes", "sentence"),
    [
        ([("n", 2), ("n", 3)], [(4, 2), (5, 3)], "Input in1 has size 5 in n, input in0 has 4."),
        ([("n", "length"), ("n", "length")], [(1, 7), (1, 8)], "Input in1 has size 8 in length, input in0 has 7."),
        ([("side", "side")], [(3, 4)], "Input in0 has size 4 in side, input in0 has 3."),
        ([(None, 1), (None, 1), (None, 1)], [(2, 1), (2, 1), (3, 1)], "Input in2 has 3 rows, input in0 has 2."),
    ],
)
def test_sizes_that_differ_are_told(inputs: list[Dimensions], shapes: list[tuple[int, ...]], sentence: str) -> None:
    feeds = {f"in{number}": np.zeros(shape) for number, shape in enumerate(shapes)}

    with pytest.raises(InvalidRequest) as caught:
        check_equal_sizes(feeds, signature_of(*inputs))

    assert caught.value.message == sentence


@pytest.mark.parametrize(
    ("inputs", "shapes"),
    [
        ([("n", 2), ("n", 3)], [(4, 2), (4, 3)]),
        ([("n", None), ("m", None)], [(4, 2), (5, 3)]),
        ([(None, None), (None, None)], [(4, 2), (4, 3)]),
        ([(1, 2), (2, 2)], [(1, 2), (2, 2)]),
        ([(), ()], [(), (3, 3)]),
    ],
)
def test_sizes_that_may_differ_are_no_error(inputs: list[Dimensions], shapes: list[tuple[int, ...]]) -> None:
    feeds = {f"in{number}": np.zeros(shape) for number, shape in enumerate(shapes)}

    check_equal_sizes(feeds, signature_of(*inputs))
