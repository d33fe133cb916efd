"""Infer in JSON and in binary: what goes in comes out, for every datatype."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from tests.oip.models import DTYPES
from tests.oip.server import Server

#: Values at the edges of each datatype, in a matrix of 2 x 3.
EDGES: dict[str, list[Any]] = {
    "BOOL": [True, False, True, True, False, False],
    **{
        datatype: [0, 1, np.iinfo(dtype).min, np.iinfo(dtype).max, 7, 100]
        for datatype, dtype in DTYPES.items()
        if np.dtype(dtype).kind in "iu"
    },
    "FP16": [0.0, -0.5, 65504.0, 6e-8, 1.0, -1.0],
    "FP32": [0.0, -0.5, 3.4028234663852886e38, 1.401298464324817e-45, 1.5, -1.0],
    "FP64": [0.0, -0.5, 1.7976931348623157e308, 5e-324, 0.1, -1.0],
}
STRINGS = ["", "a", "nul\0inside", "ümläut", "\U0001f600", 'quote " and \\ backslash\n']


def matrix(server: Server, role: str, **tensor: Any) -> dict[str, Any]:
    """An input of 2 x 3 for an identity."""
    name = server.get(f"/models/{server.model(role)}")["inputs"][0]["name"]
    return {"name": name, "shape": [2, 3], **tensor}


def only(outputs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (output,) = outputs.values()
    return output


def values_of(output: dict[str, Any]) -> list[Any]:
    """The data of an output, which a server may nest or not."""
    return list(np.array(output["data"], object).reshape(-1))


def lengths_and(elements: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


@pytest.mark.parametrize("datatype", [*(set(EDGES) - {"FP16"}), "BYTES"])
@pytest.mark.parametrize("is_nested", [False, True], ids=["flat", "nested"])
def test_json_in_json_out(server: Server, datatype: str, is_nested: bool) -> None:
    role = f"identity_{datatype.lower()}"
    values = EDGES.get(datatype, STRINGS)
    data = [values[:3], values[3:]] if is_nested else values

    reply = server.infer(role, {"inputs": [matrix(server, role, datatype=datatype, data=data)]})

    output = only(reply.outputs())
    assert (output["datatype"], output["shape"]) == (datatype, [2, 3])
    expected = np.array(values, DTYPES.get(datatype, object)).tolist()
    assert np.array(values_of(output), DTYPES.get(datatype, object)).tolist() == expected
    assert "inference-header-content-length" not in reply.headers
    assert reply.headers["content-type"].startswith("application/json")


@pytest.mark.parametrize("datatype", [*EDGES])
def test_binary_in_binary_out(server: Server, datatype: str) -> None:
    role = f"identity_{datatype.lower()}"
    data = np.array(EDGES[datatype], np.dtype(DTYPES[datatype]).newbyteorder("<")).tobytes()
    tensor = matrix(server, role, datatype=datatype, parameters={"binary_data_size": len(data)})

    reply = server.infer(role, {"inputs": [tensor], "parameters": {"binary_data_output": True}}, data)

    output = only(reply.outputs())
    assert (output["datatype"], output["shape"], output["binary"]) == (datatype, [2, 3], data)
    assert reply.headers["content-type"] == "application/octet-stream"


def test_strings_in_binary_carry_their_lengths(server: Server) -> None:
    data = lengths_and([text.encode() for text in STRINGS])
    tensor = matrix(server, "identity_bytes", datatype="BYTES", parameters={"binary_data_size": len(data)})

    reply = server.infer("identity_bytes", {"inputs": [tensor], "parameters": {"binary_data_output": True}}, data)

    assert only(reply.outputs())["binary"] == data


@pytest.mark.parametrize("padding", range(8))
def test_tensors_that_lie_at_odd_addresses_are_read_right(server: Server, padding: int) -> None:
    data = np.arange(6, dtype="<f8").tobytes()
    tensor = matrix(server, "identity_fp64", datatype="FP64", parameters={"binary_data_size": len(data)})
    request = {"inputs": [tensor], "id": "x" * padding, "parameters": {"binary_data_output": True}}

    assert only(server.infer("identity_fp64", request, data).outputs())["binary"] == data


@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_a_dimension_of_any_size_may_have_any_size(server: Server, rows: int) -> None:
    name = server.get(f"/models/{server.model('identity_fp32')}")["inputs"][0]["name"]
    data = np.arange(rows * 4, dtype="<f4").tobytes()
    tensor = {
        "name": name,
        "datatype": "FP32",
        "shape": [rows, 4],
        "parameters": {"binary_data_size": len(data)},
    }
    request = {"inputs": [tensor], "parameters": {"binary_data_output": True}}

    if rows == 0 and not server.is_ours:
        pytest.skip("the protocol leaves empty tensors open")
    body = only(server.infer("identity_fp32", request, data).outputs())
    assert (body["shape"], body["binary"]) == ([rows, 4], data)


class TestSumAndDifference:
    """Two inputs and two outputs: their order, and which of them come back how."""

    left = tuple(range(16))
    right = (3,) * 16

    def request(self, server: Server, **more: Any) -> dict[str, Any]:
        names = [tensor["name"] for tensor in server.get(f"/models/{server.model('add')}")["inputs"]]
        inputs = [
            {"name": name, "datatype": "INT32", "shape": [1, 16], "data": data}
            for name, data in zip(names, (self.left, self.right), strict=True)
        ]
        return {"inputs": inputs, **more}

    def outputs(self, server: Server) -> list[str]:
        return [tensor["name"] for tensor in server.get(f"/models/{server.model('add')}")["outputs"]]

    def test_all_outputs_come_when_none_is_named(self, server: Server) -> None:
        outputs = server.infer("add", self.request(server)).outputs()

        total, difference = self.outputs(server)
        assert [*outputs] == [total, difference]
        assert values_of(outputs[total]) == [value + 3 for value in self.left]
        assert values_of(outputs[difference]) == [value - 3 for value in self.left]

    def test_only_those_come_that_are_named_in_that_order(self, server: Server) -> None:
        total, difference = self.outputs(server)
        wanted = [{"name": difference}, {"name": total}]

        assert [*server.infer("add", self.request(server, outputs=wanted)).outputs()] == [difference, total]
        assert [*server.infer("add", self.request(server, outputs=wanted[:1])).outputs()] == [difference]

    @pytest.mark.parametrize(
        ("default", "own", "is_binary"),
        [
            (None, None, False),
            (None, True, True),
            (True, None, True),
            (True, False, False),
            (False, True, True),
            (False, None, False),
        ],
    )
    def test_an_outputs_own_wish_for_binary_goes_before_the_requests(
        self, server: Server, default: bool | None, own: bool | None, is_binary: bool
    ) -> None:
        total, _ = self.outputs(server)
        output = {"name": total, **({} if own is None else {"parameters": {"binary_data": own}})}
        parameters = {} if default is None else {"parameters": {"binary_data_output": default}}

        reply = server.infer("add", self.request(server, outputs=[output], **parameters))

        assert ("binary" in only(reply.outputs())) is is_binary
        assert ("inference-header-content-length" in reply.headers) is is_binary

    def test_json_and_binary_mix_in_requests_and_replies(self, server: Server) -> None:
        total, difference = self.outputs(server)
        data = np.array(self.right, "<i4").tobytes()
        request = self.request(server)
        request["inputs"][1].pop("data")
        request["inputs"][1]["parameters"] = {"binary_data_size": len(data)}
        request["outputs"] = [{"name": total}, {"name": difference, "parameters": {"binary_data": True}}]

        outputs = server.infer("add", request, data).outputs()

        assert values_of(outputs[total]) == [value + 3 for value in self.left]
        assert outputs[difference]["binary"] == np.array([value - 3 for value in self.left], "<i4").tobytes()

    def test_binary_tensors_come_in_the_order_of_the_inputs(self, server: Server) -> None:
        _, difference = self.outputs(server)
        request = self.request(server)
        for tensor in request["inputs"]:
            tensor.pop("data")
            tensor["parameters"] = {"binary_data_size": 64}
        request["inputs"].reverse()
        parts = [np.array(values, "<i4").tobytes() for values in (self.right, self.left)]

        outputs = server.infer("add", request, *parts).outputs()

        assert values_of(outputs[difference]) == [value - 3 for value in self.left]

    def test_a_size_that_the_shape_tells_may_be_left_out(self, ours: Server) -> None:
        total, _ = self.outputs(ours)
        request = self.request(ours)
        for tensor in request["inputs"]:
            del tensor["data"]
        parts = [np.array(values, "<i4").tobytes() for values in (self.left, self.right)]

        reply = ours.infer("add", request, *parts)

        assert values_of(reply.outputs()[total]) == [value + 3 for value in self.left]
        for wrong in (parts[:1], [*parts, bytes(1)], [parts[0], parts[1][:-1]]):
            assert ours.infer("add", request, *wrong).status == 400

    def test_the_callers_id_comes_back(self, server: Server) -> None:
        reply = server.infer("add", self.request(server, id="call-7 ü")).json()

        assert reply["id"] == "call-7 ü"
        assert reply["model_name"] == server.model("add")

    def test_a_version_can_be_named(self, server: Server) -> None:
        version = server.get(f"/models/{server.model('add')}")["versions"][-1]

        assert server.infer("add", self.request(server), version=version).json()["model_version"] == version

    def test_without_an_id_one_is_made(self, ours: Server) -> None:
        reply = ours.infer("add", self.request(ours), headers={"x-request-id": "trace-1"})

        assert reply.json()["id"] == "trace-1"
        assert reply.headers["x-request-id"] == "trace-1"

    @pytest.mark.parametrize("content_type", [None, "application/octet-stream", "text/plain", "application/json"])
    def test_the_media_type_is_not_looked_at(self, server: Server, content_type: str | None) -> None:
        headers = {} if content_type is None else {"content-type": content_type}

        assert server.infer("add", self.request(server), headers=headers).status == 200

    def test_parameters_that_mean_nothing_to_the_server_are_let_through(self, server: Server) -> None:
        parameters = {"priority": 1, "timeout": 1_000_000, "my_own": "yes"}

        assert server.infer("add", self.request(server, parameters=parameters)).status == 200
