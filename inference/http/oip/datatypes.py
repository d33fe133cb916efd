"""The protocol's datatypes: which element type of a model each one is.

It refuses to convert: a tensor has its model's datatype, or the request is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from inference.models.signature import TensorInfo

#: One string, or one encoded image, an element.
BYTES: Final = "BYTES"
FP16: Final = "FP16"

#: Datatype → numpy's type in the protocol's byte order; BYTES elements have no fixed size, so it has none.
#: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md#tensor-data-types
DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "BOOL": np.dtype("?"),
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}

_BY_NAME: Final[Mapping[str, str]] = {**{dtype.name: datatype for datatype, dtype in DTYPES.items()}, "string": BYTES}


def datatype_of(tensor: TensorInfo) -> str | None:
    """Return the datatype of an input or output; None for what the protocol has no word for, such as a sequence."""
    return _BY_NAME.get(tensor.dtype)


def is_datatype(text: str) -> bool:
    """Tell whether a request may name this datatype."""
    return text == BYTES or text in DTYPES


def datatype_of_dtype(dtype: np.dtype[Any]) -> str:
    """Return the datatype of an array that a run gave; onnxruntime gives strings as objects."""
    return BYTES if dtype.kind == "O" else _BY_NAME[dtype.name]
