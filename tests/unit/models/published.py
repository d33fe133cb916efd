"""Tiny real ONNX models and the version folders that hold them; each model is a line or two of a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from inference.models.manifest import MODEL_NAME, write_manifest
from inference.models.repository import ModelRepository, ModelVersion
from inference.models.signature import Signature, TensorInfo

OPSET = 17
IR_VERSION = 8

type Shape = Sequence[int | str | None]


def build_model(
    nodes: list[onnx.NodeProto],
    *,
    inputs: Mapping[str, tuple[int, Shape | None]],
    outputs: Mapping[str, tuple[int, Shape | None]],
    constants: Sequence[onnx.TensorProto] = (),
    opsets: Mapping[str, int] | None = None,
    ir_version: int = IR_VERSION,
) -> bytes:
    """Return a model, inputs and outputs given as name → (element type, shape); unchecked, so that it may be broken."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in outputs.items()],
        list(constants),
    )
    imports = [helper.make_opsetid(domain, number) for domain, number in (opsets or {"": OPSET}).items()]
    return bytes(helper.make_model(graph, opset_imports=imports, ir_version=ir_version).SerializeToString())


def pixels_as_logits(*, batch: int | str = "batch", side: int = 2) -> bytes:
    """A model whose logits are the pixels of a one-channel image, in reading order."""
    return build_model(
        [helper.make_node("Flatten", ["input"], ["logits"])],
        inputs={"input": (TensorProto.FLOAT, [batch, 1, side, side])},
        outputs={"logits": (TensorProto.FLOAT, [batch, side * side])},
    )


def endless_loop(goes_on: str, value: str, result: str) -> onnx.NodeProto:
    """A loop that never ends once `goes_on` is true; it looks at the terminate flag once a round."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["goes_on"], ["goes_on_out"]),
            helper.make_node("Identity", ["value"], ["value_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("goes_on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value_out", TensorProto.FLOAT, None),
        ],
    )
    return helper.make_node("Loop", ["", goes_on, value], [result], body=body)


def reshape_to_three() -> bytes:
    """A model that loads and cannot run: four pixels are to become a multiple of three, which only a run notices."""
    return build_model(
        [helper.make_node("Reshape", ["input", "shape"], ["logits"])],
        inputs={"input": (TensorProto.FLOAT, ["batch", 1, 2, 2])},
        outputs={"logits": (TensorProto.FLOAT, ["batch", None])},
        constants=[numpy_helper.from_array(np.array([-1, 3], np.int64), "shape")],
    )


def weighted_model(location: str) -> bytes:
    """A model that multiplies its pixels by a weight kept as external data at `location`."""
    weight = numpy_helper.from_array(np.full((1, 4), 3, np.float32), "weight")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": "16"}.items():
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    return build_model(
        [
            helper.make_node("Flatten", ["input"], ["flat"]),
            helper.make_node("Mul", ["flat", "weight"], ["logits"]),
        ],
        inputs={"input": (TensorProto.FLOAT, ["batch", 1, 2, 2])},
        outputs={"logits": (TensorProto.FLOAT, ["batch", 4])},
        constants=[weight],
    )


def write_version(
    repository: Path,
    model: bytes,
    *,
    name: str = "tiny",
    version: str = "1",
    toml: str = "",
    labels: Sequence[str] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> ModelVersion:
    """Publish a version and return it."""
    folder = repository / name / version
    folder.mkdir(parents=True)
    (folder / MODEL_NAME).write_bytes(model)
    if toml:
        (folder / "model.toml").write_text(toml, encoding="utf-8")
    if labels is not None:
        (folder / "labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
    for file, content in (files or {}).items():
        (folder / file).write_bytes(content)
    write_manifest(folder)
    return ModelRepository(repository).resolve(f"{name}:{version}")


def signature_of(
    shape: Sequence[int | None], *, dtype: str = "float32", outputs: Sequence[TensorInfo] | None = None
) -> Signature:
    """The signature of a model with one input and, if nothing else is said, one output of ten classes."""
    scores = (TensorInfo("output", "float32", (None, 10)),)
    return Signature((TensorInfo("input", dtype, tuple(shape)),), tuple(outputs) if outputs is not None else scores)
