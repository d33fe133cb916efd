"""An infer request: JSON, with or without binary tensors behind it, read into tensors and wishes for outputs.

It refuses to know the model: what must fit it is the business of `inference.http.oip.inputs`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import orjson
from msgspec import Meta, Struct

from inference.errors import InvalidRequest, PayloadTooLarge
from inference.http.oip.datatypes import BYTES, DTYPES, is_datatype
from inference.http.oip.tensors import LENGTH, Tensor, read_binary, read_json
from inference.schema import Misfit, measure_json, read

HEADER_LENGTH = "Inference-Header-Content-Length"

#: numpy's NPY_MAXDIMS.
_MAX_DIMENSIONS = 64

#: Inputs, and outputs, of one request.
_MAX_PARTS = 1024
#: Of all tensors of a request in JSON, where each value takes 32 bytes or more: 50 photos of 3 x 224 x 224. More
#: are sent as binary data.
_MAX_JSON_VALUES = 8_000_000
#: Rows of nested data and the like, each of 60 to 200 bytes and more.
_MAX_JSON_CONTAINERS = 250_000

_Name = Annotated[str, Meta(min_length=1, max_length=1024)]
_Size = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class RequestedOutput(Struct, frozen=True):
    """One output that the caller names, and how it wants it."""

    name: str
    is_binary: bool
    #: How many of the best classes, as texts, instead of the tensor.
    classes: int | None = None


class InferRequest(Struct, frozen=True):
    """What one request asks for."""

    id: str | None
    inputs: Sequence[Tensor]
    #: Empty: all that the model has.
    outputs: Sequence[RequestedOutput]
    #: Whether outputs that the caller does not name come in binary.
    is_binary: bool = False


# In all of them a null is what is not there: clients that write out data classes send one for each field that was not
# set. Keys that mean nothing here (priority, timeout, sequence_id, …) are let through, as the protocol wants it.


class _InputParameters(Struct, frozen=True):
    binary_data_size: _Size | None = None
    shared_memory_region: Any = None


class _Input(Struct, frozen=True):
    name: _Name
    datatype: str
    shape: Annotated[list[_Size], Meta(max_length=_MAX_DIMENSIONS)]
    parameters: _InputParameters | None = None
    data: Any = None


class _OutputParameters(Struct, frozen=True):
    binary_data: bool | None = None
    classification: Annotated[int, Meta(ge=1, lt=2**31)] | None = None
    shared_memory_region: Any = None


class _Output(Struct, frozen=True):
    name: _Name
    parameters: _OutputParameters | None = None


class _Parameters(Struct, frozen=True):
    binary_data_output: bool | None = None


class _Body(Struct, frozen=True):
    inputs: Annotated[list[_Input], Meta(max_length=_MAX_PARTS)]
    id: Annotated[str, Meta(max_length=1024)] | None = None
    parameters: _Parameters | None = None
    outputs: Annotated[list[_Output], Meta(max_length=_MAX_PARTS)] | None = None


def read_infer_request(body: bytes, header_length: str | None, model: str) -> InferRequest:
    """Return what an infer request asks for; `header_length` is the header of that name, and not 0.

    Raises InvalidRequest, PayloadTooLarge.
    """
    whole = memoryview(body)
    end = len(body) if header_length is None else _read_length(header_length, len(body))
    size = measure_json(body, end)
    if size.values > _MAX_JSON_VALUES or size.containers > _MAX_JSON_CONTAINERS:
        raise PayloadTooLarge("The request's JSON has too many values; send large tensors as binary data.")
    try:
        parsed = read(_Body, orjson.loads(whole[:end]))
    except orjson.JSONDecodeError as exc:
        raise InvalidRequest(f"The request is not JSON: {exc.msg} at character {exc.pos}.") from None
    except Misfit as exc:
        raise InvalidRequest(f"{exc}.") from None
    default = bool(parsed.parameters and parsed.parameters.binary_data_output)
    outputs = [_read_output(output, default) for output in parsed.outputs or ()]
    return InferRequest(parsed.id, _read_inputs(parsed.inputs, whole[end:], model), outputs, default)


def is_raw(header_length: str | None) -> bool:
    """Tell whether the whole body is the model's only input."""
    return header_length is not None and header_length.strip() == "0"


def _read_length(header_length: str, body_bytes: int) -> int:
    text = header_length.strip()
    if not text.isascii() or not text.isdecimal() or len(text) > 12 or int(text) > body_bytes:
        raise InvalidRequest(f"{HEADER_LENGTH} must be the length of the JSON at the start of the body.")
    return int(text)


def _read_inputs(declared: Sequence[_Input], binary: memoryview, model: str) -> list[Tensor]:
    tensors: dict[str, Tensor] = {}
    for each in declared:
        if each.name in tensors:
            raise InvalidRequest(f"Input {each.name} is there twice.")
        if not is_datatype(each.datatype):
            raise InvalidRequest(f"Input {each.name}: there is no datatype {each.datatype[:20]!r}.")
        parameters = each.parameters or _InputParameters()
        if parameters.shared_memory_region is not None:
            raise InvalidRequest(f"Input {each.name}: shared memory is not supported.")
        shape, size = tuple(each.shape), parameters.binary_data_size
        if each.data is not None:
            if size is not None:
                raise InvalidRequest(f"Input {each.name} has both data and binary_data_size.")
            values: Any = read_json(each.name, each.data, each.datatype, shape)
        elif size is None and each.datatype == BYTES and len(declared) == 1 and binary:
            values, binary = [_read_only_element(each, binary, shape)], binary[:0]
        else:
            if size is None and each.datatype != BYTES and binary:
                # OpenVINO Model Server's clients leave it out where the shape tells it.
                size = math.prod(shape) * DTYPES[each.datatype].itemsize
            if size is None:
                raise InvalidRequest(f"Input {each.name} has neither data nor binary_data_size.")
            if size > len(binary):
                raise InvalidRequest(f"Input {each.name}: the body ends before its {size} bytes of binary data.")
            values, binary = read_binary(each.name, binary[:size], each.datatype, shape), binary[size:]
        tensors[each.name] = Tensor(each.name, each.datatype, shape, values)
    if binary:
        raise InvalidRequest(f"unexpected additional input data for model '{model}': {len(binary)} bytes.")
    return list(tensors.values())


def _read_only_element(declared: _Input, binary: memoryview, shape: tuple[int, ...]) -> memoryview:
    """Return the element of the only input, which has no size: bare, or behind its length.

    OpenVINO Model Server documents both. No image, and no text that anyone writes, begins with its own length.
    """
    if math.prod(shape) != 1:
        raise InvalidRequest(f"Input {declared.name}: {BYTES} without binary_data_size are one element.")
    rest = binary[LENGTH.size :]
    return rest if bytes(binary[: LENGTH.size]) == LENGTH.pack(len(rest)) else binary


def _read_output(declared: _Output, is_binary: bool) -> RequestedOutput:
    parameters = declared.parameters or _OutputParameters()
    if parameters.shared_memory_region is not None:
        raise InvalidRequest(f"Output {declared.name}: shared memory is not supported.")
    wished = parameters.binary_data
    return RequestedOutput(declared.name, is_binary if wished is None else wished, parameters.classification)
