"""Infer requests as bytes: any of them is read, or refused as an invalid request."""

from __future__ import annotations

import tracemalloc

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.errors import InvalidRequest, PayloadTooLarge
from inference.http.oip.requests import is_raw, read_infer_request

HEAD = orjson.dumps(
    {
        "id": "a",
        "parameters": {"binary_data_output": True},
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}},
            {"name": "y", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}},
        ],
        "outputs": [{"name": "z", "parameters": {"binary_data": False, "classification": 3}}],
    }
)
BODY = HEAD + bytes(8) + b"\1\0\0\0a"


def test_a_request_is_read_into_tensors_and_wishes() -> None:
    request = read_infer_request(BODY, str(len(HEAD)), "m")

    assert request.id == "a"
    assert [(tensor.name, tensor.datatype, tensor.shape) for tensor in request.inputs] == [
        ("x", "FP32", (1, 2)),
        ("y", "BYTES", (1,)),
    ]
    assert list(request.inputs[1].values) == [b"a"]
    (output,) = request.outputs
    assert (output.name, output.is_binary, output.classes) == ("z", False, 3)


def test_a_null_is_what_is_not_there() -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1], "parameters": None}
    body = {"id": None, "parameters": None, "inputs": [tensor], "outputs": None}
    request = read_infer_request(orjson.dumps(body), None, "m")
    assert (request.id, [*request.outputs], request.is_binary) == (None, [], False)

    nulls = {"binary_data": None, "classification": None}
    outputs = [{"name": "y", "parameters": None}, {"name": "z", "parameters": nulls}]
    request = read_infer_request(orjson.dumps({**body, "outputs": outputs}), None, "m")
    assert [(output.name, output.is_binary, output.classes) for output in request.outputs] == [
        ("y", False, None),
        ("z", False, None),
    ]


@given(st.binary(max_size=200), st.none() | st.text(max_size=5) | st.integers(-5, 250).map(str))
def test_any_bytes_are_refused_as_an_invalid_request(body: bytes, length: str | None) -> None:
    with pytest.raises(InvalidRequest):
        read_infer_request(body, length, "m")


@given(st.integers(0, len(BODY) - 1), st.integers(0, 255), st.integers(0, len(BODY)))
def test_a_request_with_one_byte_changed_and_cut_is_read_or_refused(place: int, value: int, end: int) -> None:
    body = bytearray(BODY)
    body[place] = value
    try:
        request = read_infer_request(bytes(body[:end]), str(len(HEAD)), "m")
    except InvalidRequest:
        return
    assert len(request.inputs) == 2


@pytest.mark.parametrize(("header", "raw"), [(None, False), ("0", True), (" 0 ", True), ("00", False), ("1", False)])
def test_a_header_length_of_zero_is_a_raw_request(header: str | None, raw: bool) -> None:
    assert is_raw(header) is raw


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"inputs": [{"data": [' + b"1," * 8_000_000 + b"1]}]}", PayloadTooLarge),
        (b'{"inputs": [{"data": [' + b"{}," * 250_000 + b"1]}]}", PayloadTooLarge),
        (b'{"inputs": [{"data": [' + (b"[" * 1000 + b"]" * 1000 + b",") * 250 + b"1]}]}", PayloadTooLarge),
        (b'{"inputs": [], "outputs": [' + b'{"name":"a"},' * 50_000 + b"1]}", InvalidRequest),
        (b'{"inputs": [' + b'{"name":"a","datatype":"FP32","shape":[0],"data":[]},' * 50_000 + b"1]}", InvalidRequest),
    ],
    ids=["values", "objects", "nested", "outputs", "inputs"],
)
def test_very_many_values_are_refused_in_little_memory(body: bytes, error: type[Exception]) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(error):
            read_infer_request(body, None, "m")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 64 << 20
