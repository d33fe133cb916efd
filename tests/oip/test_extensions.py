"""Triton's extensions: raw requests, compression, classification, statistics, repository; and encoded images."""

from __future__ import annotations

import base64
import gzip
import json
import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.oip.models import LABELS
from tests.oip.server import Server

PIXELS = [[0, 51], [102, 255]]
LOGITS = [0.0, 0.2, 0.4, 1.0]


def png(pixels: list[list[int]]) -> bytes:
    stream = BytesIO()
    Image.fromarray(np.array(pixels, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def decompress(body: bytes, encoding: str | None) -> bytes:
    match encoding:
        case "gzip":
            return gzip.decompress(body)
        case "deflate":
            return zlib.decompress(body)
        case _:
            return body


def with_length(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


RAW = {"Inference-Header-Content-Length": "0"}


class TestRawRequests:
    def test_the_body_is_the_tensor_and_the_outputs_are_binary(self, ours: Server) -> None:
        data = np.array(LOGITS, "<f4").tobytes()

        output = ours.request("POST", "/models/pixels/infer", data, RAW).outputs()["logits"]

        assert (output["shape"], output["binary"]) == ([1, 4], data)

    def test_one_open_dimension_is_told_by_the_size(self, ours: Server) -> None:
        data = bytes(12)

        output = ours.request("POST", "/models/identity_int32/infer", data, RAW).outputs()["OUTPUT0"]

        assert (output["shape"], output["binary"]) == ([1, 3], data)

    def test_a_string_has_no_length_before_it(self, ours: Server) -> None:
        output = ours.request("POST", "/models/identity_bytes/infer", b"427", RAW).outputs()["OUTPUT0"]

        assert (output["shape"], output["binary"]) == ([1, 1], with_length(b"427"))

    def test_an_image_is_decoded(self, ours: Server) -> None:
        output = ours.request("POST", "/models/pixels/infer", png(PIXELS), RAW).outputs()["logits"]

        assert np.frombuffer(output["binary"], "<f4").tolist() == pytest.approx(LOGITS)

    @pytest.mark.parametrize(("model", "body"), [("simple", bytes(64)), ("identity_int32", bytes(5))])
    def test_what_a_bare_body_cannot_say_is_refused(self, ours: Server, model: str, body: bytes) -> None:
        assert ours.request("POST", f"/models/{model}/infer", body, RAW).status == 400


class TestImages:
    """Encoded images as BYTES elements, as OpenVINO Model Server takes them."""

    def request(self, server: Server, count: int, **more: Any) -> dict[str, Any]:
        name = server.get(f"/models/{server.model('image')}")["inputs"][0]["name"]
        return {"inputs": [{"name": name, "datatype": "BYTES", "shape": [count], **more}]}

    def test_each_element_is_an_image(self, server: Server) -> None:
        data = with_length(png(PIXELS)) + with_length(png([[255, 255], [0, 0]]))
        request = self.request(server, 2, parameters={"binary_data_size": len(data)})

        (output,) = server.infer("image", request, data).outputs().values()

        assert output["shape"][0] == 2
        if server.is_ours:
            assert output["data"] == pytest.approx([*LOGITS, 1.0, 1.0, 0.0, 0.0])

    def test_the_only_image_needs_no_size(self, server: Server) -> None:
        (output,) = server.infer("image", self.request(server, 1), png(PIXELS)).outputs().values()

        assert output["shape"][0] == 1

    def test_without_a_size_it_may_come_behind_its_length_too(self, ours: Server) -> None:
        reply = ours.infer("image", self.request(ours, 1), with_length(png(PIXELS)))

        assert reply.outputs() == ours.infer("image", self.request(ours, 1), png(PIXELS)).outputs()

    def test_several_need_a_size(self, ours: Server) -> None:
        reply = ours.infer("image", self.request(ours, 2), 2 * with_length(png(PIXELS)))

        assert (reply.status, reply.json()["code"]) == (400, "invalid_request")

    def test_in_json_an_image_is_base64(self, ours: Server) -> None:
        request = self.request(ours, 1, data=[base64.b64encode(png(PIXELS)).decode()])

        assert ours.infer("image", request).outputs()["logits"]["data"] == pytest.approx(LOGITS)

    def test_images_and_tensors_give_the_same(self, ours: Server) -> None:
        pixels = np.array(PIXELS, "<f4") / np.float32(255)
        tensor = {"name": "input", "datatype": "FP32", "shape": [1, 1, 2, 2], "data": pixels.reshape(-1).tolist()}

        as_tensor = ours.infer("image", {"inputs": [tensor]}).outputs()["logits"]["data"]
        as_image = ours.infer("image", self.request(ours, 1), png(PIXELS)).outputs()["logits"]["data"]

        assert as_image == pytest.approx(as_tensor)

    @pytest.mark.parametrize(
        ("data", "status", "code"),
        [(b"not an image", 422, "image_invalid"), (png(PIXELS)[:40], 422, "image_invalid")],
        ids=["text", "cut"],
    )
    def test_what_is_no_image_is_refused(self, ours: Server, data: bytes, status: int, code: str) -> None:
        reply = ours.infer("image", self.request(ours, 1), data)

        assert (reply.status, reply.json()["code"]) == (status, code)

    def test_of_several_the_one_that_is_no_image_is_named(self, ours: Server) -> None:
        good = base64.b64encode(png(PIXELS)).decode()
        reply = ours.infer("image", self.request(ours, 3, data=[good, "bm8gaW1hZ2U=", good]))

        assert (reply.status, reply.json()["code"]) == (422, "image_invalid")
        assert reply.error.startswith("Input input, element 1: ")

    @pytest.mark.parametrize(
        ("count", "data", "status"),
        [(0, [], 400), (33, [""] * 33, 422), (1, [""], 422), (1, ["no base64"], 400), (1, [7], 400)],
    )
    def test_no_image_or_too_many_are_refused(self, ours: Server, count: int, data: list[Any], status: int) -> None:
        assert ours.infer("image", self.request(ours, count, data=data)).status == status

    def test_a_batch_of_tensors_has_the_limit_that_the_configuration_tells(self, ours: Server) -> None:
        tensor = {"name": "input", "datatype": "FP32", "shape": [33, 1, 2, 2], "data": [0] * 132}

        reply = ours.infer("image", {"inputs": [tensor]})

        assert (reply.status, reply.json()["code"]) == (422, "too_many_inputs")
        assert "32 items at most" in reply.error


class TestCompression:
    rows = 200

    def request(self, server: Server) -> tuple[bytes, bytes]:
        name = server.get(f"/models/{server.model('identity_fp32')}")["inputs"][0]["name"]
        data = np.arange(self.rows * 4, dtype="<f4").tobytes()
        tensor = {"name": name, "datatype": "FP32", "shape": [self.rows, 4]}
        tensor["parameters"] = {"binary_data_size": len(data)}
        return json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode(), data

    @pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
    def test_a_compressed_request_is_read(self, server: Server, encoding: str, compress: Any) -> None:
        head, data = self.request(server)
        headers = {"Content-Encoding": encoding, "Inference-Header-Content-Length": str(len(head))}

        path = f"/models/{server.model('identity_fp32')}/infer"
        (output,) = server.request("POST", path, compress(head + data), headers).outputs().values()

        assert output["binary"] == data

    @pytest.mark.parametrize(
        ("accepted", "encoding"),
        [
            ("gzip", "gzip"),
            ("deflate", "deflate"),
            ("gzip, deflate, br", "gzip"),
            ("deflate;q=1.0, gzip;q=0.5", "deflate"),
            ("br", None),
            ("identity", None),
            ("*", None),
            ("gzip;q=0", None),
            ("", None),
        ],
    )
    def test_a_reply_is_compressed_as_was_asked(self, ours: Server, accepted: str, encoding: str | None) -> None:
        head, data = self.request(ours)
        headers = {"Inference-Header-Content-Length": str(len(head)), "Accept-Encoding": accepted}

        reply = ours.request("POST", "/models/identity_fp32/infer", head + data, headers)

        assert reply.headers.get("content-encoding") == encoding
        assert (reply.headers.get("vary") == "accept-encoding") is (encoding is not None)
        body = decompress(reply.body, encoding)
        assert body[int(reply.headers["inference-header-content-length"]) :] == data

    @pytest.mark.parametrize("path", ["", "/models/simple", "/models/simple/config", "/models/stats", "/models/nobody"])
    def test_nothing_but_infer_replies_is_compressed(self, server: Server, path: str) -> None:
        reply = server.request("GET", path, headers={"Accept-Encoding": "gzip, deflate, br"})

        assert "content-encoding" not in reply.headers
        assert reply.json()

    @pytest.mark.parametrize(
        ("encoding", "body", "status"),
        [
            ("gzip", b"not gzip", 400),
            ("gzip", gzip.compress(b"{}")[:-4], 400),
            ("gzip", gzip.compress(b"{}") + b"more", 400),
            ("deflate", gzip.compress(b"{}"), 400),
            ("br", b"{}", 415),
            ("gzip, gzip", b"{}", 415),
            ("gzip", gzip.compress(bytes(80 << 20), 1), 413),
        ],
        ids=["text", "cut", "trailing", "wrong", "br", "twice", "bomb"],
    )
    def test_a_broken_stream_or_a_bomb_is_refused(self, ours: Server, encoding: str, body: bytes, status: int) -> None:
        reply = ours.request("POST", "/models/simple/infer", body, {"Content-Encoding": encoding})

        assert reply.status == status
        assert reply.error

    def test_a_body_that_is_too_large_is_a_413(self, ours: Server) -> None:
        assert ours.request("POST", "/models/simple/infer", bytes((64 << 20) + 1)).status == 413


class TestClassification:
    def infer(self, server: Server, rows: list[list[float]], count: int, *, binary: bool = False) -> dict[str, Any]:
        metadata = server.get(f"/models/{server.model('image')}")
        (given,), (output,) = metadata["inputs"], metadata["outputs"]
        sizes = [len(rows), *given["shape"][1:]]
        tensor = {"name": given["name"], "datatype": "FP32", "shape": sizes, "data": [v for row in rows for v in row]}
        wanted = {"name": output["name"], "parameters": {"classification": count, "binary_data": binary}}
        (found,) = server.infer("image", {"inputs": [tensor], "outputs": [wanted]}).outputs().values()
        return found

    def test_the_best_classes_come_with_score_index_and_label(self, ours: Server) -> None:
        found = self.infer(ours, [[0.25, 4.0, -1.5, 0.5]], 2)

        assert (found["datatype"], found["shape"]) == ("BYTES", [1, 2])
        assert found["data"] == [f"4.000000:1:{LABELS[1]}", f"0.500000:3:{LABELS[3]}"]

    def test_each_item_of_a_batch_has_its_own(self, ours: Server) -> None:
        found = self.infer(ours, [[1, 0, 0, 0], [0, 0, 0, 1]], 1)

        assert (found["shape"], found["data"]) == ([2, 1], [f"1.000000:0:{LABELS[0]}", f"1.000000:3:{LABELS[3]}"])

    def test_there_are_no_more_classes_than_the_output_has(self, ours: Server) -> None:
        assert self.infer(ours, [[1, 2, 3, 4]], 100)["shape"] == [1, 4]

    def test_they_come_in_binary_too(self, ours: Server) -> None:
        found = self.infer(ours, [[1, 0, 0, 0]], 1, binary=True)

        assert found["binary"] == with_length(f"1.000000:0:{LABELS[0]}".encode())

    def test_strings_have_no_classes(self, ours: Server) -> None:
        tensor = {"name": "INPUT0", "datatype": "BYTES", "shape": [1, 1], "data": ["a"]}
        wanted = {"name": "OUTPUT0", "parameters": {"classification": 1}}

        assert ours.infer("identity_bytes", {"inputs": [tensor], "outputs": [wanted]}).status == 400


class TestStatistics:
    durations = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")

    def entry(self, server: Server) -> dict[str, Any]:
        (found,) = server.get(f"/models/{server.model('identity_int8')}/stats")["model_stats"]
        return dict(found)

    def test_a_request_is_counted_with_its_durations(self, server: Server) -> None:
        tensor = {"name": "INPUT0", "datatype": "INT8", "shape": [2, 2], "data": [1, 2, 3, 4]}
        tensor["name"] = server.get(f"/models/{server.model('identity_int8')}")["inputs"][0]["name"]
        before = self.entry(server)

        assert server.infer("identity_int8", {"inputs": [tensor]}).status == 200
        server.infer("identity_int8", {"inputs": [{**tensor, "data": [1]}]})

        after = self.entry(server)
        grown = {
            name: after["inference_stats"][name]["count"] - before["inference_stats"][name]["count"]
            for name in self.durations
        }
        assert grown["success"] == grown["compute_infer"] == grown["compute_input"] == grown["compute_output"] == 1
        assert after["execution_count"] == before["execution_count"] + 1
        assert after["last_inference"] >= before["last_inference"]
        assert after["inference_stats"]["compute_infer"]["ns"] > before["inference_stats"]["compute_infer"]["ns"]
        if server.is_ours:
            assert (grown["fail"], grown["queue"]) == (1, 1)
            assert after["inference_count"] == before["inference_count"] + 1

    def test_batches_are_told_apart_by_their_size(self, ours: Server) -> None:
        data = [0] * 12
        request = {"inputs": [{"name": "input", "datatype": "FP32", "shape": [3, 1, 2, 2], "data": data}]}

        assert ours.infer("image", request).status == 200

        (entry,) = ours.get("/models/pixels/versions/1/stats")["model_stats"]
        assert entry["inference_count"] > entry["execution_count"]
        assert 3 in {batch["batch_size"] for batch in entry["batch_stats"]}

    def test_all_loaded_models_can_be_asked_at_once(self, server: Server) -> None:
        server.get(f"/models/{server.model('identity_int8')}/ready")

        names = [entry["name"] for entry in server.get("/models/stats")["model_stats"]]

        assert server.model("identity_int8") in names


class TestRepository:
    def index(self, server: Server, body: bytes = b"") -> dict[str, str]:
        reply = server.request("POST", "/repository/index", body)
        assert reply.status == 200
        return {entry["name"]: entry["state"] for entry in reply.json()}

    def test_the_index_has_every_model_with_its_state(self, server: Server) -> None:
        server.get(f"/models/{server.model('add')}/ready")

        assert self.index(server)[server.model("add")] == "READY"

    def test_it_can_be_asked_for_those_that_are_loaded(self, ours: Server) -> None:
        ours.request("POST", "/repository/models/identity_uint8/unload")

        assert self.index(ours, b'{"ready": true}').keys() < self.index(ours, b"{}").keys()
        assert "identity_uint8" not in self.index(ours, b'{"ready": true}')

    def test_a_null_is_what_is_not_there(self, ours: Server) -> None:
        assert self.index(ours, b'{"ready": null}') == self.index(ours, b"{}")
        for verb in ("load", "unload"):
            path = f"/repository/models/identity_int32/{verb}"
            assert ours.request("POST", path, b'{"parameters": null}').status == 200

    @pytest.mark.parametrize("verb", ["index", "models/identity_int32/load"])
    def test_a_body_may_be_packed_and_have_a_byte_order_mark(self, ours: Server, verb: str) -> None:
        path, body = f"/repository/{verb}", b'\xef\xbb\xbf{"ready": true}'

        assert ours.request("POST", path, body).status == 200
        assert ours.request("POST", path, gzip.compress(body), {"Content-Encoding": "gzip"}).status == 200
        assert ours.request("POST", path, body, {"Content-Encoding": "br"}).status == 415

    def test_an_unloaded_model_is_not_ready_until_it_is_loaded(self, ours: Server) -> None:
        path = "/models/identity_uint16/ready"
        assert ours.request("GET", path).status == 200

        assert ours.request("POST", "/repository/models/identity_uint16/unload", b"{}").body == b""
        assert ours.request("GET", path).status == 503
        assert self.index(ours)["identity_uint16"] == "UNAVAILABLE"
        assert ours.request("POST", "/repository/models/identity_uint16/load").status == 200

        assert ours.request("GET", path).status == 200
        assert self.index(ours)["identity_uint16"] == "READY"

    def test_a_request_brings_an_unloaded_model_back(self, ours: Server) -> None:
        tensor = {"name": "INPUT0", "datatype": "UINT32", "shape": [1, 1], "data": [7]}
        ours.request("POST", "/repository/models/identity_uint32/unload")

        assert ours.infer("identity_uint32", {"inputs": [tensor]}).status == 200

        assert ours.request("GET", "/models/identity_uint32/ready").status == 200

    @pytest.mark.parametrize("verb", ["load", "unload"])
    def test_an_unknown_model_is_refused(self, server: Server, verb: str) -> None:
        reply = server.request("POST", f"/repository/models/nobody/{verb}")

        assert 400 <= reply.status < 500
        assert reply.error

    def test_what_cannot_be_loaded_is_said_in_tritons_words(self, ours: Server) -> None:
        unknown = ours.request("POST", "/repository/models/nobody/load")
        configured = ours.request("POST", "/repository/models/simple/load", b'{"parameters": {"config": "{}"}}')

        assert (unknown.status, unknown.error) == (404, "failed to load 'nobody': There is no model nobody.")
        assert configured.error.startswith("failed to load 'simple': ")

    @pytest.mark.parametrize(
        "body",
        [
            b'{"parameters": {"config": "{}"}}',
            b'{"parameters": {"config": "{}", "file:1/model.onnx": "AAAA"}}',
            b'{"parameters": []}',
            b"no json",
        ],
    )
    def test_no_model_comes_in_with_a_request(self, ours: Server, body: bytes) -> None:
        reply = ours.request("POST", "/repository/models/simple/load", body)

        assert (reply.status, reply.json()["code"]) == (400, "invalid_request")
        assert ours.request("GET", "/models/simple/ready").status == 200
