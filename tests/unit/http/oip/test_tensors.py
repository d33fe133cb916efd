"""Tensor data: what is written is read back, to the bit; what does not fit is refused, whatever the bytes."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from inference.errors import InvalidRequest, PayloadTooLarge
from inference.http.oip.datatypes import DTYPES, datatype_of, datatype_of_dtype
from inference.http.oip.tensors import Tensor, read_binary, read_json, read_strings, write_binary, write_json
from inference.models.signature import TensorInfo

SHAPES = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@st.composite
def arrays(draw: st.DrawFn, *, is_finite: bool = False) -> tuple[str, NDArray[Any]]:
    datatype = draw(st.sampled_from(sorted(DTYPES)))
    dtype = DTYPES[datatype]
    elements = None
    if dtype.kind == "f" and is_finite:
        elements = npst.from_dtype(dtype, allow_nan=False, allow_infinity=False)
    return datatype, draw(npst.arrays(dtype, draw(SHAPES), elements=elements))


@st.composite
def strings(draw: st.DrawFn) -> NDArray[np.object_]:
    shape = draw(SHAPES)
    array = np.empty(math.prod(shape), object)
    for index in range(len(array)):
        array[index] = draw(TEXTS)
    return array.reshape(shape)


@given(arrays())
def test_binary_data_is_read_back_to_the_bit(case: tuple[str, NDArray[Any]]) -> None:
    datatype, array = case

    written = bytes(write_binary(array))
    found = read_binary("x", memoryview(written), datatype, array.shape)

    assert isinstance(found, np.ndarray)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes() == written


@given(arrays(is_finite=True).filter(lambda case: case[0] != "FP16"), st.booleans())
def test_json_is_read_back_to_the_bit_flat_or_nested(case: tuple[str, NDArray[Any]], is_nested: bool) -> None:
    datatype, array = case

    flat = orjson.loads(orjson.dumps(write_json("x", array), option=orjson.OPT_SERIALIZE_NUMPY))
    data = array.tolist() if is_nested and array.ndim else flat
    found = read_json("x", data, datatype, array.shape)

    assert isinstance(found, np.ndarray)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()


@given(strings(), st.booleans())
def test_strings_are_read_back_in_binary_and_in_json(array: NDArray[np.object_], is_binary: bool) -> None:
    values: Any
    if is_binary:
        values = read_binary("x", memoryview(bytes(write_binary(array))), "BYTES", array.shape)
    else:
        values = read_json("x", orjson.loads(orjson.dumps(write_json("x", array))), "BYTES", array.shape)

    found = read_strings(Tensor("x", "BYTES", array.shape, values))

    assert found.shape == array.shape
    assert found.tolist() == array.tolist()


@given(st.sampled_from([*DTYPES, "BYTES"]), st.binary(max_size=64), st.lists(st.integers(0, 2**62), max_size=4))
def test_any_bytes_are_a_tensor_or_an_invalid_request(datatype: str, data: bytes, shape: list[int]) -> None:
    try:
        values = read_binary("x", memoryview(data), datatype, shape)
    except InvalidRequest:
        return
    assert (values.size if isinstance(values, np.ndarray) else len(values)) == math.prod(shape)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=10,
)


@given(st.sampled_from([*DTYPES, "BYTES"]), JSON, st.lists(st.integers(0, 3), max_size=3))
def test_any_json_is_a_tensor_or_an_invalid_request(datatype: str, data: Any, shape: list[int]) -> None:
    try:
        values = read_json("x", data, datatype, shape)
    except InvalidRequest:
        return
    assert (values.size if isinstance(values, np.ndarray) else len(values)) == math.prod(shape)


def test_aligned_data_is_not_copied_and_other_data_is() -> None:
    body = memoryview(bytes(16) + np.arange(4, dtype="<f4").tobytes())
    start = -np.frombuffer(body, np.uint8).__array_interface__["data"][0] % 4

    aligned = read_binary("x", body[start : start + 16], "FP32", (4,))
    other = read_binary("x", body[start + 1 : start + 17], "FP32", (4,))

    assert isinstance(aligned, np.ndarray)
    assert isinstance(other, np.ndarray)
    assert np.shares_memory(aligned, np.frombuffer(body, np.uint8))
    assert not np.shares_memory(other, np.frombuffer(body, np.uint8))
    assert other.flags.aligned


def test_outputs_that_lie_in_order_are_not_copied() -> None:
    array = np.arange(6, dtype="<f4").reshape(2, 3)

    assert np.shares_memory(np.asarray(write_binary(array)), array)
    assert bytes(write_binary(array.T)) == np.array([0, 3, 1, 4, 2, 5], "<f4").tobytes()


@pytest.mark.parametrize(("dtype", "datatype"), [("float32", "FP32"), ("bool", "BOOL"), ("string", "BYTES")])
def test_a_models_types_have_names_in_the_protocol(dtype: str, datatype: str) -> None:
    assert datatype_of(TensorInfo("x", dtype, ())) == datatype
    assert datatype_of_dtype(np.dtype("O" if dtype == "string" else dtype)) == datatype


@pytest.mark.parametrize("dtype", ["tensor(bfloat16)", "seq(map(string,tensor(float)))"])
def test_what_the_protocol_has_no_word_for_has_no_name(dtype: str) -> None:
    assert datatype_of(TensorInfo("x", dtype, ())) is None


def test_more_strings_than_the_shape_has_are_not_even_looked_at() -> None:
    data = memoryview(bytes(4_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest, match="more elements"):
            read_binary("x", data, "BYTES", (3,))
        with pytest.raises(PayloadTooLarge, match="1000000 elements"):
            read_binary("x", data, "BYTES", (1_000_001,))
        with pytest.raises(PayloadTooLarge, match="1000000 elements"):
            read_json("x", [""] * 1_000_001, "BYTES", (1_000_001,))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 32 << 20
