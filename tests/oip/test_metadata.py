"""Health, server metadata and model metadata."""

from __future__ import annotations

import pytest

from tests.oip.models import KINDS
from tests.oip.server import Server

DATATYPES = [*KINDS]


@pytest.mark.parametrize("probe", ["live", "ready"])
def test_a_server_that_is_up_is_live_and_ready(server: Server, probe: str) -> None:
    assert server.request("GET", f"/health/{probe}").status == 200


def test_the_server_names_itself_and_its_extensions(server: Server) -> None:
    metadata = server.get("")

    assert isinstance(metadata["name"], str)
    assert isinstance(metadata["version"], str)
    assert "binary_tensor_data" in metadata["extensions"]


@pytest.mark.parametrize("datatype", DATATYPES)
def test_a_model_tells_the_datatype_and_shape_of_its_tensors(server: Server, datatype: str) -> None:
    name = server.model(f"identity_{datatype.lower()}")

    metadata = server.get(f"/models/{name}")

    assert metadata["name"] == name
    assert metadata["platform"]
    for tensors in (metadata["inputs"], metadata["outputs"]):
        assert [tensor["datatype"] for tensor in tensors] == [datatype]
        assert all(size == -1 or size > 0 for tensor in tensors for size in tensor["shape"])


def test_a_model_names_its_versions_and_each_of_them_can_be_asked_for(server: Server) -> None:
    name = server.model("add")

    versions = server.get(f"/models/{name}")["versions"]

    assert versions
    for version in versions:
        assert server.get(f"/models/{name}/versions/{version}")["name"] == name
        assert server.get(f"/models/{name}/versions/{version}/ready") is not None


def test_a_model_that_can_infer_is_ready(server: Server) -> None:
    name = server.model("add")

    assert server.request("GET", f"/models/{name}/ready").status == 200


@pytest.mark.parametrize("path", ["/models/nobody", "/models/nobody/ready", "/models/nobody/versions/1"])
def test_an_unknown_model_is_an_error_with_a_sentence(server: Server, path: str) -> None:
    reply = server.request("GET", path)

    assert 400 <= reply.status < 500
    assert reply.error


def test_parameters_in_the_query_are_let_through(server: Server) -> None:
    assert server.request("GET", "?unknown=1&verbose").status == 200


def test_the_sentences_are_those_that_tritons_clients_look_for(ours: Server) -> None:
    unknown = ours.request("GET", "/models/nobody")
    no_version = ours.request("GET", "/models/simple/versions/7")

    assert (unknown.status, unknown.error) == (404, "Request for unknown model: 'nobody' is not found")
    assert (no_version.status, no_version.error) == (
        404,
        "Request for unknown model: 'simple' version 7 is not found",
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/logging"),
        ("POST", "/trace/setting"),
        ("GET", "/systemsharedmemory/status"),
        ("POST", "/cudasharedmemory/region/a/register"),
        ("GET", "/models"),
        ("GET", "/models/simple/infer"),
        ("POST", "/models/simple/generate"),
    ],
)
def test_what_is_not_offered_is_a_404_with_a_sentence(ours: Server, method: str, path: str) -> None:
    reply = ours.request(method, path)

    assert (reply.status, reply.error) == (404, f"There is no {method} /v2{path} here.")


def test_the_configuration_is_what_perf_analyzer_reads(server: Server) -> None:
    name = server.model("add")

    config = server.get(f"/models/{name}/config")

    assert config["name"] == name
    assert config["max_batch_size"] >= 0
    assert {tensor["data_type"] for tensor in config["input"]} == {"TYPE_INT32"}
    metadata = server.get(f"/models/{name}")
    for configured, described in zip(config["input"], metadata["inputs"], strict=True):
        assert configured["name"] == described["name"]
        batch = 1 if config["max_batch_size"] else 0
        assert configured["dims"] == described["shape"][batch:]


def test_the_configuration_of_an_image_model_has_a_batch_a_layout_and_labels(ours: Server) -> None:
    config = ours.get("/models/pixels/versions/1/config")

    assert config["max_batch_size"] == 32
    assert config["input"] == [{"name": "input", "data_type": "TYPE_FP32", "dims": [1, 2, 2], "format": "FORMAT_NCHW"}]
    assert config["output"] == [
        {"name": "logits", "data_type": "TYPE_FP32", "dims": [4], "label_filename": "labels.txt"}
    ]
