"""The data of one tensor, in JSON and in binary, to arrays and back; nothing is copied that need not be.

It refuses data that does not fill its shape exactly, and values that its datatype cannot hold.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from inference.errors import InvalidRequest, PayloadTooLarge
from inference.http.oip.datatypes import BYTES, DTYPES, FP16

#: A BYTES element's length stands before it.
LENGTH = struct.Struct("<I")

#: Elements of one BYTES input: an element of no bytes takes four of the body, and two hundred here.
MAX_ELEMENTS = 1_000_000

type Elements = list[str] | list[memoryview]


class Tensor(Struct, frozen=True):
    """One input of a request."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    #: An array of `shape`; for BYTES its elements in reading order: texts from JSON, else bytes of the body.
    values: NDArray[Any] | Elements


def read_json(name: str, data: Any, datatype: str, shape: Sequence[int]) -> NDArray[Any] | list[str]:
    """Return what `data`, flat or nested as `shape` is, holds. Raises InvalidRequest, PayloadTooLarge."""
    if datatype == FP16:
        raise InvalidRequest(f"Input {name}: FP16 must be sent as binary data, as JSON has no numbers of that size.")
    values = _flatten(name, data, shape)
    kinds = set(map(type, values))
    if datatype == BYTES:
        _check_elements(name, len(values))
        if kinds - {str}:
            raise InvalidRequest(f"Input {name}: BYTES are strings in JSON.")
        return values
    dtype = DTYPES[datatype]
    # By the exact types: numpy would read "1" as a number, 1.5 as 1 and null as not a number.
    if kinds - ({bool} if dtype.kind == "b" else {int, float} if dtype.kind == "f" else {int}):
        raise InvalidRequest(f"Input {name}: its data has values that are not {datatype}.")
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, dtype)
    except OverflowError:
        raise InvalidRequest(f"Input {name}: a value is out of the range of {datatype}.") from None
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidRequest(f"Input {name}: a value is out of the range of {datatype}.")
    return _shaped(name, array, shape)


def _flatten(name: str, data: Any, shape: Sequence[int]) -> list[Any]:
    rows: Any = [data]
    if not isinstance(data, list):
        raise InvalidRequest(f"Input {name}: data must be an array.")
    if not data or not isinstance(data[0], list):
        if len(data) != math.prod(shape):
            raise InvalidRequest(f"Input {name}: {len(data)} values do not fill the shape {list(shape)}.")
        return data
    for size in shape:
        if not all(isinstance(row, list) and len(row) == size for row in rows):
            raise InvalidRequest(f"Input {name}: its nested data does not have the shape {list(shape)}.")
        rows = list(chain.from_iterable(rows))
    return list(rows)


def read_binary(name: str, data: memoryview, datatype: str, shape: Sequence[int]) -> NDArray[Any] | list[memoryview]:
    """Return a view of `data`: little-endian, in reading order. Raises InvalidRequest, PayloadTooLarge."""
    count = math.prod(shape)
    if datatype == BYTES:
        return _read_elements(name, data, count, shape)
    dtype = DTYPES[datatype]
    if len(data) != count * dtype.itemsize:
        raise InvalidRequest(
            f"Input {name}: {len(data)} bytes are not the {count * dtype.itemsize} of {datatype} {list(shape)}."
        )
    if dtype.kind == "b" and data and np.frombuffer(data, np.uint8).max() > 1:
        raise InvalidRequest(f"Input {name}: a BOOL is a byte of 0 or 1.")
    # The header before it has any length, and onnxruntime's kernels may rely on alignment: only then a copy is made.
    return _shaped(name, np.require(np.frombuffer(data, dtype), requirements="A"), shape)


def _read_elements(name: str, data: memoryview, count: int, shape: Sequence[int]) -> list[memoryview]:
    _check_elements(name, count)
    elements: list[memoryview] = []
    offset = 0
    while offset < len(data):
        if len(elements) == count:
            raise InvalidRequest(f"Input {name}: more elements than fill the shape {list(shape)}.")
        start = offset + LENGTH.size
        if start > len(data):
            raise InvalidRequest(f"Input {name}: its binary data ends within an element's length.")
        offset = start + LENGTH.unpack_from(data, offset)[0]
        if offset > len(data):
            raise InvalidRequest(f"Input {name}: its binary data ends within an element.")
        elements.append(data[start:offset])
    if len(elements) != count:
        raise InvalidRequest(f"Input {name}: {len(elements)} elements do not fill the shape {list(shape)}.")
    return elements


def _check_elements(name: str, count: int) -> None:
    if count > MAX_ELEMENTS:
        raise PayloadTooLarge(f"Input {name} has more than {MAX_ELEMENTS} elements.")


def _shaped(name: str, array: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    try:
        return array.reshape(shape)
    except ValueError:  # numpy multiplies the other dimensions, although one of them is 0
        raise InvalidRequest(f"Input {name}: the shape {list(shape)} is too large.") from None


def read_strings(tensor: Tensor) -> NDArray[np.object_]:
    """Return a BYTES input as the array of `str` that onnxruntime takes. Raises InvalidRequest when it is not UTF-8."""
    strings = np.empty(len(tensor.values), object)
    for index, element in enumerate(tensor.values):
        try:
            strings[index] = element if isinstance(element, str) else str(element, "utf-8")
        except UnicodeDecodeError:
            raise InvalidRequest(f"Input {tensor.name}: the element {index} is not UTF-8.") from None
    return _shaped(tensor.name, strings, tensor.shape)


def write_json(name: str, array: NDArray[Any]) -> Any:
    """Return the array, flat, as orjson takes it. Raises InvalidRequest for what JSON cannot say."""
    if array.dtype == np.float16:
        raise InvalidRequest(f"Output {name} is FP16, which JSON cannot hold: ask for it with binary_data.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        # Triton writes NaN and Infinity, which only lenient parsers read; others write null, which is another value.
        raise InvalidRequest(f"Output {name} is not all finite, which JSON cannot say: ask for it with binary_data.")
    flat = array.reshape(-1)
    return flat.tolist() if array.dtype.kind == "O" else np.ascontiguousarray(flat)


def write_binary(array: NDArray[Any]) -> bytes | memoryview:
    """Return the array little-endian, in reading order; a view of it where it lies so."""
    if array.dtype.kind == "O":
        encoded = [str(element).encode() for element in array.reshape(-1)]
        return b"".join(part for element in encoded for part in (LENGTH.pack(len(element)), element))
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data
