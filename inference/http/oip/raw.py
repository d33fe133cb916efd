"""A raw request: the body is the model's only input and there is no JSON; `curl --data-binary` can write one.

It refuses models of several inputs, and sizes that leave two dimensions open.
"""

from __future__ import annotations

import math

import numpy as np

from inference.errors import InferenceError, InvalidRequest
from inference.http.oip.datatypes import BYTES, DTYPES, datatype_of
from inference.http.oip.inputs import is_image_input
from inference.http.oip.requests import InferRequest
from inference.http.oip.tensors import Tensor, read_binary
from inference.image import decode
from inference.models.session import ModelSession
from inference.models.signature import TensorInfo
from inference.settings import ImageSettings


def read_raw_request(body: bytes, session: ModelSession, images: ImageSettings) -> InferRequest:
    """Return the request that a bare body makes: one item, all outputs in binary. Raises InvalidRequest.

    A string is the body itself, without a length before it. For an image model the body is an encoded image, or the
    tensor when it has exactly its size and cannot be decoded.
    """
    if len(session.signature.inputs) != 1:
        raise InvalidRequest(f"A raw request needs a model with one input, not {len(session.signature.inputs)}.")
    declared = session.signature.inputs[0]
    view = memoryview(body)
    if is_image_input(declared, session) and (len(body) != _tensor_bytes(session) or _is_image(body, images)):
        tensor = Tensor(declared.name, BYTES, (1,), [view])
    elif declared.dtype == "string":
        if any(size not in (None, 1) for size in declared.shape):
            raise InvalidRequest("A raw request holds one string, and the model takes more.")
        tensor = Tensor(declared.name, BYTES, (1,) * len(declared.shape), [view])
    else:
        tensor = _read_tensor(view, declared)
    return InferRequest(None, [tensor], [], is_binary=True)


def _read_tensor(data: memoryview, declared: TensorInfo) -> Tensor:
    datatype = datatype_of(declared)
    if datatype is None:
        raise InvalidRequest(f"The model's input {declared.name} is not a tensor that this protocol knows.")
    shape = [1 if index == 0 and size is None else size for index, size in enumerate(declared.shape)]
    if shape.count(None) > 1:
        raise InvalidRequest("A raw request does not tell a shape, and the model leaves several dimensions open.")
    itemsize = DTYPES[datatype].itemsize
    known = math.prod(size for size in shape if size is not None) * itemsize
    resolved = tuple((len(data) // known if known else 0) if size is None else size for size in shape)
    return Tensor(declared.name, datatype, resolved, read_binary(declared.name, data, datatype, resolved))


def _tensor_bytes(session: ModelSession) -> int:
    """The size of one item's tensor, whose rows and columns `model.toml` may give where the model takes any."""
    image = session.spec.image
    if image is None:
        return 0
    return image.width * image.height * image.channels * np.dtype(image.dtype).itemsize


def _is_image(body: bytes, images: ImageSettings) -> bool:
    """Its first bytes alone do not tell: one tensor in 65536 begins like a BMP."""
    try:
        decode(body, images)
    except InferenceError:
        return False
    return True
