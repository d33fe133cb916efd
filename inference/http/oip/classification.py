"""The classification extension: the best classes of an output as texts, `score:index[:label]`.

It refuses to normalise: the score is what the model put out.
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_classification.md
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.errors import InvalidRequest

#: Of all items of an output: naming so many takes 0.2 s, in which no deadline is looked at.
_MAX_CLASSES = 100_000


def name_classes(name: str, output: NDArray[Any], count: int, labels: Sequence[str]) -> NDArray[np.object_]:
    """Return the `count` highest values of each item, highest first: BYTES of shape N x count, or count for one row.

    The first of several dimensions tells items apart; in the rest one class is one element. Equal values keep their
    order. Raises InvalidRequest for an output that is not numbers, and for more classes than a reply names.
    """
    if output.dtype.kind not in "fiu" or not output.shape:
        raise InvalidRequest(f"Output {name} has no classes: it is not a tensor of numbers.")
    rows = output.reshape(output.shape[0], math.prod(output.shape[1:])) if output.ndim > 1 else output[np.newaxis]
    count = min(count, rows.shape[1])
    if count * rows.shape[0] > _MAX_CLASSES:
        raise InvalidRequest(
            f"Output {name}: a reply names {_MAX_CLASSES} classes at most, not {count * rows.shape[0]}."
        )
    named = np.empty((rows.shape[0], count), object)
    # Of rows of nothing there may be more than could ever be looked at.
    best = _best(rows, count) if named.size else named[:0]
    for row, column in np.ndindex(best.shape):
        index = int(best[row, column])
        label = f":{labels[index]}" if index < len(labels) else ""
        named[row, column] = f"{_format(rows[row, index])}:{index}{label}"
    return named if output.ndim > 1 else named[0]


def _best(rows: NDArray[Any], count: int) -> NDArray[np.intp]:
    # Reversed twice rather than negated, which unsigned numbers would not survive; not a number comes last.
    ascending = np.argsort(rows[:, ::-1], axis=1, kind="stable")
    descending = rows.shape[1] - 1 - ascending[:, ::-1]
    if rows.dtype.kind == "f":
        is_nan = np.isnan(np.take_along_axis(rows, descending, axis=1))
        descending = np.take_along_axis(descending, np.argsort(is_nan, axis=1, kind="stable"), axis=1)
    best: NDArray[np.intp] = descending[:, :count]
    return best


def _format(value: Any) -> str:
    """As Triton writes it: std::to_string."""
    return f"{value:f}" if value.dtype.kind == "f" else str(value)
