"""What does not fit is refused with a sentence, and never with a 500."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from tests.oip.server import Reply, Server


def tensor(**changes: Any) -> dict[str, Any]:
    one = {"name": "INPUT0", "datatype": "FP32", "shape": [1, 2], "data": [1, 2], **changes}
    return {key: value for key, value in one.items() if value is not None}


def post(server: Server, body: bytes, headers: dict[str, str] | None = None, role: str = "identity_fp32") -> Reply:
    return server.request("POST", f"/models/{server.model(role)}/infer", body, headers)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b'{"inputs": 7}',
        b"{}",
        b'{"inputs": [{"shape": [1]}]}',
        b'{"inputs": ["text"]}',
        b"[" * 100_000,
    ],
    ids=lambda body: body[:30].decode(),
)
def test_a_body_that_is_no_request(server: Server, body: bytes) -> None:
    reply = post(server, body)

    assert 400 <= reply.status < 500
    assert reply.error


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "NOBODY"},
        {"name": ""},
        {"datatype": "INT32"},
        {"datatype": "FLOAT"},
        {"shape": [1, 3]},
        {"shape": [2]},
        {"shape": []},
        {"shape": [-1, -2]},
        {"shape": [2**62, 2**62]},
        {"shape": [0, 2**62]},
        {"shape": "2"},
        {"shape": [1.5, 2]},
        {"shape": [1] * 65},
        {"data": None},
        {"data": [1]},
        {"data": [1, 2, 3]},
        {"data": ["1", "2"]},
        {"data": [None, 1]},
        {"data": [{}, 1]},
        {"data": {"0": 1}},
        {"data": 7},
        {"data": "12"},
        {"parameters": 7, "data": None},
        {"parameters": {"binary_data_size": -1}, "data": None},
        {"parameters": {"binary_data_size": "8"}, "data": None},
        {"parameters": {"binary_data_size": 8}, "data": None},
        {"parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 8}, "data": None},
    ],
    ids=str,
)
def test_an_input_that_does_not_fit(server: Server, changes: dict[str, Any]) -> None:
    reply = post(server, json.dumps({"inputs": [tensor(**changes)]}).encode())

    assert 400 <= reply.status < 500
    assert reply.error


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("BOOL", [0, 1]),
        ("BOOL", ["true", "false"]),
        ("UINT8", [-1, 0]),
        ("UINT8", [256, 0]),
        ("INT8", [128, 0]),
        ("INT64", [2**63, 0]),
        ("UINT64", [2**64, 0]),
        ("INT32", [1.5, 0]),
        ("INT32", [1.0, 0]),
        ("INT32", [True, False]),
        ("FP32", [True, 1.0]),
        ("FP32", [1e39, 0]),
        ("BYTES", [1, 2]),
        ("BYTES", [["a"], ["b", "c"]]),
        ("FP16", [1.0, 2.0]),
    ],
    ids=str,
)
def test_values_that_their_datatype_cannot_hold_are_not_bent_to_fit(
    ours: Server, datatype: str, data: list[Any]
) -> None:
    role = f"identity_{datatype.lower()}"

    reply = post(ours, json.dumps({"inputs": [tensor(datatype=datatype, data=data)]}).encode(), role=role)

    assert (reply.status, reply.json()["code"]) == (400, "invalid_request")
    assert "INPUT0" in reply.error


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have_are_not_json(ours: Server, text: str) -> None:
    body = json.dumps({"inputs": [tensor()]}).replace("[1, 2]}", f"[1, {text}]}}")

    assert post(ours, body.encode()).status == 400


@pytest.mark.parametrize("nested", [[[1], [2]], [[1, 2], []], [[1, 2], 3], [[[1, 2]]], [1, [2]]], ids=str)
def test_nested_data_must_have_the_shape(ours: Server, nested: list[Any]) -> None:
    assert post(ours, json.dumps({"inputs": [tensor(data=nested)]}).encode()).status == 400


def test_inputs_that_do_not_fit_each_other(ours: Server) -> None:
    inputs = [
        {"name": f"INPUT{n}", "datatype": "INT32", "shape": [rows, 16], "data": [1] * rows * 16}
        for n, rows in enumerate((2, 3))
    ]

    reply = ours.infer("add", {"inputs": inputs})

    assert (reply.status, reply.error) == (400, "Input INPUT1 has size 3 in batch, input INPUT0 has 2.")


def test_inputs_must_be_there_once(server: Server) -> None:
    inputs = [{"name": "INPUT0", "datatype": "INT32", "shape": [1, 16], "data": [1] * 16}]

    assert 400 <= server.infer("add", {"inputs": inputs}).status < 500
    assert 400 <= server.infer("add", {"inputs": inputs * 2}).status < 500


@pytest.mark.parametrize(
    "outputs",
    [
        [{"name": "NOBODY"}],
        [{}],
        {"name": "OUTPUT0"},
        [{"name": "OUTPUT0", "parameters": {"classification": 0}}],
        [{"name": "OUTPUT0", "parameters": {"classification": "1"}}],
        [{"name": "OUTPUT0", "parameters": {"binary_data": 1}}],
        [{"name": "OUTPUT0"}, {"name": "OUTPUT0"}],
        [{"name": "OUTPUT0", "parameters": {"shared_memory_region": "r"}}],
    ],
    ids=str,
)
def test_an_output_that_cannot_be_given(server: Server, outputs: Any) -> None:
    reply = post(server, json.dumps({"inputs": [tensor()], "outputs": outputs}).encode())

    assert 400 <= reply.status < 500
    assert reply.error


class TestBinary:
    """Lengths that do not add up."""

    def send(self, server: Server, size: int, data: bytes, length: str | None = None, **changes: Any) -> Reply:
        one = tensor(parameters={"binary_data_size": size}, data=None, **changes)
        role = f"identity_{one['datatype'].lower()}"
        headers = {} if length is None else {"Inference-Header-Content-Length": length}
        return server.infer(role, {"inputs": [one]}, data, headers=headers)

    def test_eight_bytes_are_right(self, server: Server) -> None:
        assert self.send(server, 8, bytes(8)).status == 200

    @pytest.mark.parametrize(("size", "data"), [(8, 4), (4, 4), (16, 16), (9, 9), (8, 0), (2**62, 8)])
    def test_a_size_that_is_not_that_of_the_shape_or_of_the_body(self, server: Server, size: int, data: int) -> None:
        reply = self.send(server, size, bytes(data))

        assert 400 <= reply.status < 500
        assert reply.error

    def test_bytes_that_are_left_over(self, server: Server) -> None:
        reply = self.send(server, 8, bytes(9))

        assert 400 <= reply.status < 500
        assert "unexpected additional input data for model" in reply.error

    @pytest.mark.parametrize("length", ["-1", "x", "1e3", "99999", "9" * 30, "5", "+8", "8.0"])
    def test_a_header_length_that_is_not_that_of_the_json(self, server: Server, length: str) -> None:
        reply = self.send(server, 8, bytes(8), length)

        assert 400 <= reply.status < 500
        assert reply.error

    def test_both_json_data_and_binary_data(self, ours: Server) -> None:
        one = tensor(parameters={"binary_data_size": 8})

        assert ours.infer("identity_fp32", {"inputs": [one]}, bytes(8)).status == 400

    @pytest.mark.parametrize(
        "data",
        [
            struct.pack("<I", 1) + b"a",
            struct.pack("<I", 1) + b"a" + struct.pack("<I", 2) + b"b",
            struct.pack("<I", 1) + b"a" + b"\1\0",
            struct.pack("<I", 2**32 - 1) + b"a",
            struct.pack("<I", 0) * 3,
        ],
        ids=["one element", "cut element", "cut length", "huge element", "three elements"],
    )
    def test_strings_whose_lengths_do_not_add_up(self, server: Server, data: bytes) -> None:
        reply = self.send(server, len(data), data, datatype="BYTES")

        assert 400 <= reply.status < 500
        assert reply.error

    def test_strings_that_are_not_utf8(self, ours: Server) -> None:
        data = struct.pack("<I", 1) + b"a" + struct.pack("<I", 1) + b"\xff"

        assert "UTF-8" in self.send(ours, len(data), data, datatype="BYTES").error

    def test_a_bool_that_is_neither_0_nor_1(self, ours: Server) -> None:
        assert self.send(ours, 2, b"\1\2", datatype="BOOL").status == 400


def test_the_shape_of_errors_is_that_of_every_route(ours: Server) -> None:
    reply = post(ours, b"{}")

    assert reply.json().keys() == {"error", "code", "request_id"}
    assert reply.json()["request_id"] == reply.headers["x-request-id"]


def test_not_a_number_in_an_output_is_refused_in_json_and_given_in_binary(ours: Server) -> None:
    data = struct.pack("<ff", float("nan"), float("inf"))
    one = tensor(parameters={"binary_data_size": 8}, data=None)

    in_json = ours.infer("identity_fp32", {"inputs": [one]}, data)
    in_binary = ours.infer("identity_fp32", {"inputs": [one], "parameters": {"binary_data_output": True}}, data)

    assert (in_json.status, "binary_data" in in_json.error) == (400, True)
    assert in_binary.outputs()["OUTPUT0"]["binary"] == data


def test_fp16_in_an_output_is_refused_in_json(ours: Server) -> None:
    one = tensor(datatype="FP16", parameters={"binary_data_size": 4}, data=None)

    assert "binary_data" in ours.infer("identity_fp16", {"inputs": [one]}, bytes(4)).error


def test_one_huge_string_among_many_numbers_costs_no_memory(ours: Server) -> None:
    """numpy would make every element as wide as the widest: 4 MB times a hundred thousand."""
    reply = post(
        ours, json.dumps({"inputs": [tensor(shape=[1, 100_001], data=["x" * 1_000_000] + [0] * 100_000)]}).encode()
    )

    assert reply.status == 400
