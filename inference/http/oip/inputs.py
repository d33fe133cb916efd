"""From a request's tensors to what the model's run is fed: every input held to the model's signature.

It refuses to guess: what has another name, datatype or shape than the model's is the caller's mistake.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from inference.errors import InvalidRequest, TooManyInputs
from inference.http.oip.datatypes import BYTES, datatype_of
from inference.http.oip.images import ImageDecoder
from inference.http.oip.tensors import Tensor, read_strings
from inference.models.session import ModelSession
from inference.models.signature import Signature, TensorInfo

type Feeds = dict[str, NDArray[Any]]


def build_feeds(inputs: Sequence[Tensor], session: ModelSession, decoder: ImageDecoder, max_batch_size: int) -> Feeds:
    """Return the arrays of a run by input name.

    A BYTES input of an image model is encoded images, which `decoder` turns into its tensor. `max_batch_size` is 0 for
    models without a batch dimension. Raises InvalidRequest, TooManyInputs, and ItemRejected for what is no image.
    """
    declared = {tensor.name: tensor for tensor in session.signature.inputs}
    given = {tensor.name: tensor for tensor in inputs}
    for name in declared.keys() - given.keys():
        raise InvalidRequest(f"Input {name} is missing.")
    for tensor in inputs:
        if tensor.name not in declared:
            raise InvalidRequest(f"unexpected inference input '{tensor.name}' for model '{session.version.name}'.")
        if max_batch_size and tensor.shape[:1] > (max_batch_size,):
            raise TooManyInputs(f"A batch has {max_batch_size} items at most; input {tensor.name} has more.")
    return {name: _build_feed(tensor, declared[name], session, decoder) for name, tensor in given.items()}


def check_equal_sizes(feeds: Feeds, signature: Signature) -> None:
    """Raise InvalidRequest where inputs differ in a dimension that has one name in the graph, or in nameless rows.

    To be asked once a run has failed: exporters also give one name to dimensions that the graph never joins.
    """
    first: dict[str | None, tuple[str, int]] = {}
    for tensor in signature.inputs:
        for axis, (name, declared) in enumerate(zip(tensor.dimensions, tensor.shape, strict=False)):
            if declared is not None or (name is None and axis):
                continue
            size = feeds[tensor.name].shape[axis]
            other, other_size = first.setdefault(name, (tensor.name, size))
            if size != other_size:
                what = f"size {size} in {name}" if name else f"{size} rows"
                raise InvalidRequest(f"Input {tensor.name} has {what}, input {other} has {other_size}.")


def is_image_input(declared: TensorInfo, session: ModelSession) -> bool:
    """Tell whether an input can be given as encoded images."""
    return session.spec.image is not None and declared.name == session.spec.input_name


def _build_feed(tensor: Tensor, declared: TensorInfo, session: ModelSession, decoder: ImageDecoder) -> NDArray[Any]:
    if tensor.datatype == BYTES and is_image_input(declared, session):
        if not fits((len(tensor.values),), declared.shape[:1]):
            raise InvalidRequest(f"The model takes {declared.shape[0]} images a run, not {len(tensor.values)}.")
        return decoder.decode(tensor, session.spec)
    datatype = datatype_of(declared)
    if datatype is None:
        raise InvalidRequest(f"The model's input {declared.name} is not a tensor that this protocol knows.")
    if tensor.datatype != datatype:
        raise InvalidRequest(f"Input {tensor.name} has the datatype {tensor.datatype}, the model takes {datatype}.")
    # onnxruntime tells neither a scalar from a tensor of unknown rank: it will say itself what does not fit.
    if declared.shape and not fits(tensor.shape, declared.shape):
        wanted = [-1 if size is None else size for size in declared.shape]
        raise InvalidRequest(f"Input {tensor.name} has the shape {list(tensor.shape)}, the model takes {wanted}.")
    return read_strings(tensor) if datatype == BYTES else _as_array(tensor.values)


def fits(shape: Sequence[int], declared: Sequence[int | None]) -> bool:
    """Tell whether a shape is one that the model takes."""
    return len(shape) == len(declared) and all(
        wanted is None or size == wanted for size, wanted in zip(shape, declared, strict=True)
    )


def _as_array(values: Any) -> NDArray[Any]:
    array: NDArray[Any] = values  # everything but BYTES was read as one
    return array
