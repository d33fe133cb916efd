"""The models that the suite needs, each a line or two of a graph: identities, a sum, one for images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from tests.unit.models.published import Shape, build_model, pixels_as_logits, write_version

#: Datatype → ONNX's element type.
KINDS = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}

DTYPES = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}

LABELS = ("top left", "top right", "bottom left", "bottom right")


def identity(datatype: str) -> bytes:
    """A model whose output is its input, a matrix of any size."""
    tensor: tuple[int, Shape] = (KINDS[datatype], ["rows", "columns"])
    return build_model(
        [helper.make_node("Identity", ["INPUT0"], ["OUTPUT0"])], inputs={"INPUT0": tensor}, outputs={"OUTPUT0": tensor}
    )


def sum_and_difference() -> bytes:
    """The same contract as Triton's example model `simple`, but for the batch dimension, which may have any size."""
    tensor: tuple[int, Shape] = (TensorProto.INT32, ["batch", 16])
    return build_model(
        [
            helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
            helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
        ],
        inputs={"INPUT0": tensor, "INPUT1": tensor},
        outputs={"OUTPUT0": tensor, "OUTPUT1": tensor},
    )


def write_repository(folder: Path) -> dict[str, str]:
    """Publish every model and return role → name."""
    roles = {f"identity_{datatype.lower()}": datatype for datatype in KINDS}
    for role, datatype in roles.items():
        write_version(folder, identity(datatype), name=role, toml='task = "tensor"\n')
    write_version(folder, sum_and_difference(), name="simple", toml='task = "tensor"\n')
    write_version(folder, pixels_as_logits(), name="pixels", labels=LABELS)
    return {**{role: role for role in roles}, "add": "simple", "image": "pixels"}
