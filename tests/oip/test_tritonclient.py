"""NVIDIA's own client, as it comes from PyPI, synchronous and asynchronous."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException

from tests.oip.models import DTYPES, LABELS
from tests.oip.server import Server
from tests.oip.test_extensions import LOGITS, PIXELS, png

LEFT = np.arange(16, dtype=np.int32).reshape(1, 16)
RIGHT = np.full((1, 16), 3, np.int32)


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    with tritonclient.http.InferenceServerClient(server.address, ssl=server.url.startswith("https")) as client:
        yield client


@pytest.fixture
async def aio_client(server: Server) -> AsyncIterator[Any]:
    ssl = server.url.startswith("https")
    async with tritonclient.http.aio.InferenceServerClient(server.address, ssl=ssl) as client:
        yield client


def given(name: str, array: Any, datatype: str, *, binary: bool = True) -> Any:
    tensor = tritonclient.http.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def operands(*, binary: bool = True) -> list[Any]:
    return [given("INPUT0", LEFT, "INT32", binary=binary), given("INPUT1", RIGHT, "INT32", binary=binary)]


def wanted(name: str, **how: Any) -> Any:
    return tritonclient.http.InferRequestedOutput(name, **how)


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_sum_and_difference(client: Any, server: Server, binary_in: bool, binary_out: bool | None) -> None:
    names = ("OUTPUT0", "OUTPUT1")
    outputs = None if binary_out is None else [wanted(name, binary_data=binary_out) for name in names]

    result = client.infer(server.model("add"), operands(binary=binary_in), outputs=outputs, request_id="seven")

    assert (result.as_numpy("OUTPUT0") == LEFT + RIGHT).all()
    assert (result.as_numpy("OUTPUT1") == LEFT - RIGHT).all()
    assert result.get_response()["id"] == "seven"


@pytest.mark.parametrize("datatype", [*DTYPES])
def test_every_datatype_survives(client: Any, server: Server, datatype: str) -> None:
    array: Any = np.array([[0, 1, 1], [1, 0, 100]]).astype(DTYPES[datatype])

    result = client.infer(server.model(f"identity_{datatype.lower()}"), [given("INPUT0", array, datatype)])

    output = result.as_numpy("OUTPUT0")
    assert output.dtype == array.dtype
    assert (output == array).all()


@pytest.mark.parametrize("binary", [True, False])
def test_strings_survive_with_a_nul_inside(client: Any, server: Server, binary: bool) -> None:
    array = np.array([["a\0b", "ü"], ["", "c" * 70_000]], object)
    outputs = [wanted("OUTPUT0", binary_data=binary)]

    result = client.infer(
        server.model("identity_bytes"), [given("INPUT0", array, "BYTES", binary=binary)], outputs=outputs
    )

    found = [value.decode() if isinstance(value, bytes) else value for value in result.as_numpy("OUTPUT0").reshape(-1)]
    assert found == array.reshape(-1).tolist()


@pytest.mark.parametrize("request_algorithm", [None, "gzip", "deflate"])
@pytest.mark.parametrize("response_algorithm", [None, "gzip", "deflate"])
def test_compression_both_ways(
    client: Any, server: Server, request_algorithm: str | None, response_algorithm: str | None
) -> None:
    array = np.arange(2000, dtype=np.float32).reshape(500, 4)

    result = client.infer(
        server.model("identity_fp32"),
        [given("INPUT0", array, "FP32")],
        request_compression_algorithm=request_algorithm,
        response_compression_algorithm=response_algorithm,
    )

    assert (result.as_numpy("OUTPUT0") == array).all()


def test_an_asynchronous_request(client: Any, server: Server) -> None:
    pending = [client.async_infer(server.model("add"), operands()) for _ in range(4)]

    for each in pending:
        assert (each.get_result().as_numpy("OUTPUT0") == LEFT + RIGHT).all()


def test_an_encoded_image_and_its_classes(client: Any, ours: Server) -> None:
    image = given("input", np.array([png(PIXELS)], object), "BYTES")

    logits = client.infer("pixels", [image]).as_numpy("logits")
    classes = client.infer("pixels", [image], outputs=[wanted("logits", class_count=1)]).as_numpy("logits")

    assert logits.tolist() == [pytest.approx(LOGITS)]
    assert classes.tolist() == [[f"1.000000:3:{LABELS[3]}".encode()]]


def test_metadata_configuration_statistics_and_index(client: Any, server: Server) -> None:
    name = server.model("add")

    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(name)
    assert not client.is_model_ready("nobody")
    assert client.get_server_metadata()["name"]
    assert client.get_model_metadata(name)["name"] == name
    assert client.get_model_config(name)["name"] == name
    assert client.get_inference_statistics(name)["model_stats"][0]["name"] == name
    assert len(client.get_inference_statistics(name)["model_stats"]) == 1
    assert name in {entry["name"] for entry in client.get_model_repository_index()}


def test_load_and_unload(client: Any, ours: Server) -> None:
    client.load_model("identity_int16")
    assert client.is_model_ready("identity_int16")

    client.unload_model("identity_int16")

    assert not client.is_model_ready("identity_int16")
    with pytest.raises(InferenceServerException, match="models come from the repository"):
        client.load_model("identity_int16", config="{}")


def test_errors_are_sentences(client: Any, server: Server) -> None:
    with pytest.raises(InferenceServerException, match="Request for unknown model"):
        client.infer("nobody", operands())
    with pytest.raises(InferenceServerException, match=r".+"):
        client.infer(server.model("add"), operands()[:1])


def test_what_is_not_offered_is_an_error_with_a_sentence(client: Any, ours: Server) -> None:
    with pytest.raises(InferenceServerException, match="There is no GET /v2/systemsharedmemory/status here"):
        client.get_system_shared_memory_status()


async def test_the_asynchronous_client_infers(aio_client: Any, server: Server) -> None:
    array = np.arange(2000, dtype=np.float32).reshape(500, 4)
    outputs = [wanted("OUTPUT0", binary_data=False)]

    in_binary = await aio_client.infer(server.model("identity_fp32"), [given("INPUT0", array, "FP32")])
    in_json = await aio_client.infer(
        server.model("identity_fp32"), [given("INPUT0", array, "FP32", binary=False)], outputs=outputs
    )

    assert (in_binary.as_numpy("OUTPUT0") == array).all()
    assert (in_json.as_numpy("OUTPUT0") == array).all()


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
async def test_the_asynchronous_client_compresses(aio_client: Any, server: Server, algorithm: str) -> None:
    array = np.arange(2000, dtype=np.float32).reshape(500, 4)

    result = await aio_client.infer(
        server.model("identity_fp32"),
        [given("INPUT0", array, "FP32")],
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )

    assert (result.as_numpy("OUTPUT0") == array).all()


async def test_the_asynchronous_client_reads_all_that_is_not_compressed(aio_client: Any, server: Server) -> None:
    name = server.model("add")

    assert await aio_client.is_server_live()
    assert await aio_client.is_server_ready()
    assert await aio_client.is_model_ready(name)
    assert (await aio_client.get_server_metadata())["name"]
    assert (await aio_client.get_model_metadata(name))["name"] == name
    assert (await aio_client.get_model_config(name))["name"] == name
    assert (await aio_client.get_inference_statistics(name))["model_stats"][0]["name"] == name
    assert name in {entry["name"] for entry in await aio_client.get_model_repository_index()}
    with pytest.raises(InferenceServerException, match="Request for unknown model"):
        await aio_client.infer("nobody", operands())
