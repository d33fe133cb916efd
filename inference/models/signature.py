"""A model's signature: names, dtypes and shapes of its inputs and outputs, as its ONNX graph declares them.

It refuses to interpret them: `inference.models.spec` says what they mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct

#: onnxruntime's names of element types → numpy's; https://onnxruntime.ai/docs/api/python/api_summary.html
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    "tensor(string)": "string",
    **{f"tensor({kind}{bits})": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}


class TensorInfo(Struct, frozen=True):
    """One input or output."""

    name: str
    #: numpy's name, "string", or onnxruntime's own name for what is not a plain tensor: "seq(tensor(float))".
    dtype: str
    #: None for a dynamic dimension.
    shape: tuple[int | None, ...]
    #: The graph's name of each dimension, None where it has none; empty when unknown.
    dimensions: tuple[str | None, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether requests and replies can hold it: neither a sequence nor of a type that numpy has not (bfloat16)."""
        return "(" not in self.dtype


class Signature(Struct, frozen=True):
    """All inputs and outputs, in the graph's order."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


class NodeArgument(Protocol):
    """What onnxruntime gives for an input or output."""

    @property
    def name(self) -> str: ...

    @property
    def type(self) -> str: ...

    @property
    def shape(self) -> Iterable[int | str | None]: ...


def read_signature(inputs: Iterable[NodeArgument], outputs: Iterable[NodeArgument]) -> Signature:
    """Return the signature of a session's `get_inputs()` and `get_outputs()`."""
    return Signature(tuple(map(_tensor_info, inputs)), tuple(map(_tensor_info, outputs)))


def _tensor_info(argument: NodeArgument) -> TensorInfo:
    # A named dimension ("batch") and a negative one both mean: decided at run time.
    sizes = tuple(argument.shape)
    shape = tuple(size if isinstance(size, int) and size >= 0 else None for size in sizes)
    names = tuple(size if isinstance(size, str) else None for size in sizes)
    return TensorInfo(argument.name, _DTYPES.get(argument.type, argument.type), shape, names)
