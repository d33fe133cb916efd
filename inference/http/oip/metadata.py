"""What the service and its models are, in the protocol's words and in those of Triton's model configuration.

It refuses to say what the model itself does not: dims are those of its graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from inference.http.oip.datatypes import BYTES, datatype_of
from inference.models.session import ModelSession
from inference.models.signature import TensorInfo

#: What Triton calls ONNX models; the specification's `onnx_onnxv1` is known to no client.
PLATFORM: Final = "onnxruntime_onnx"

EXTENSIONS: Final = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "statistics",
)


def describe_server(name: str, version: str) -> dict[str, Any]:
    """Return the server metadata."""
    return {"name": name, "version": version, "extensions": list(EXTENSIONS)}


def describe_model(session: ModelSession, versions: Sequence[str]) -> dict[str, Any]:
    """Return the model metadata; -1 is a dimension of any size."""
    return {
        "name": session.version.name,
        "versions": list(versions),
        "platform": PLATFORM,
        "inputs": [_describe_tensor(tensor, datatype) for tensor, datatype in _known(session.signature.inputs)],
        "outputs": [_describe_tensor(tensor, datatype) for tensor, datatype in _known(session.signature.outputs)],
    }


def max_batch_size(session: ModelSession, max_items: int) -> int:
    """Return how many items a request may have in the first dimension of each input; 0: that dimension is no batch.

    Only the tasks say what an item is: the first dimension of a tensor model may as well be the length of a signal.
    """
    return max_items if session.spec.has_dynamic_batch and session.spec.task != "tensor" else 0


def describe_config(session: ModelSession, max_items: int) -> dict[str, Any]:
    """Return the part of Triton's ModelConfig that its clients read: perf_analyzer, for one."""
    batch = max_batch_size(session, max_items)
    return {
        "name": session.version.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "max_batch_size": batch,
        "input": [
            _configure_input(tensor, datatype, session, batch) for tensor, datatype in _known(session.signature.inputs)
        ],
        "output": [
            _configure_output(tensor, datatype, session, batch)
            for tensor, datatype in _known(session.signature.outputs)
        ],
    }


def _known(tensors: Iterable[TensorInfo]) -> list[tuple[TensorInfo, str]]:
    """Leave out what the protocol has no datatype for, such as the maps that scikit-learn's classifiers put out."""
    return [(tensor, datatype) for tensor in tensors if (datatype := datatype_of(tensor)) is not None]


def _describe_tensor(tensor: TensorInfo, datatype: str) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": datatype, "shape": _sizes(tensor)}


def _configure_input(tensor: TensorInfo, datatype: str, session: ModelSession, batch: int) -> dict[str, Any]:
    image = session.spec.image if tensor.name == session.spec.input_name else None
    layout = f"FORMAT_{image.layout}" if image is not None else "FORMAT_NONE"
    return {**_configure(tensor, datatype, batch), "format": layout}


def _configure_output(tensor: TensorInfo, datatype: str, session: ModelSession, batch: int) -> dict[str, Any]:
    is_labelled = session.spec.output.labels and tensor.name == session.spec.output.name
    return {**_configure(tensor, datatype, batch), "label_filename": "labels.txt" if is_labelled else ""}


def _configure(tensor: TensorInfo, datatype: str, batch: int) -> dict[str, Any]:
    sizes = _sizes(tensor)
    # Triton's dims do not hold the batch dimension of a model that has one.
    dims = sizes[1:] if batch else sizes
    return {"name": tensor.name, "data_type": f"TYPE_{'STRING' if datatype == BYTES else datatype}", "dims": dims}


def _sizes(tensor: TensorInfo) -> list[int]:
    return [-1 if size is None else size for size in tensor.shape]
