"""Items of one run: their tensors joined, its outputs taken apart again, row by row.

It refuses outputs that have other than a row for each item: a caller would get somebody else's answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.errors import InferenceFailed


def join_rows(tensors: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return tensors of one row each (1 x ...) as one of many rows."""
    return tensors[0] if len(tensors) == 1 else np.concatenate(tensors)


def split_rows(outputs: Mapping[str, NDArray[Any]], count: int) -> list[dict[str, NDArray[Any]]]:
    """Return the outputs of each item (1 x ...), in their order. Raises InferenceFailed: see `check_rows`."""
    if count == 1:
        return [dict(outputs)]
    check_rows(outputs, count)
    return [{name: values[row : row + 1] for name, values in outputs.items()} for row in range(count)]


def check_rows(outputs: Mapping[str, Any], count: int) -> None:
    """Raise InferenceFailed, naming the output, where other than `count` rows came out."""
    for name, values in outputs.items():
        rows = values.shape[0] if isinstance(values, np.ndarray) and values.ndim else 1
        if rows != count:
            raise InferenceFailed(f"The model gave {rows} rows of {name} for {count} items.")
