"""The running service on a repository in a container: publish, roll out by halves, reload, break, roll back."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inference.models.publication import publish_version, remove_version
from inference.settings import StorageSettings
from inference.storage import BlobStore
from inference.storage.azure import AzureStorage
from tests.hosting import HostProcess, eventually
from tests.service.conftest import ROOT, SCANS, ready
from tests.unit.models.published import pixels_as_logits, write_version

DIGIT = SCANS / "digit-3-a.png"
TOML = "[input]\nresize = 'stretch'\n"


@pytest.fixture(scope="module")
def container() -> str:
    return f"t-{uuid.uuid4().hex}"


@asynccontextmanager
async def open_container(azurite: str, container: str) -> AsyncIterator[BlobStore]:
    async with AzureStorage.connect(StorageSettings(connection_string=azurite)) as account:
        yield account.blobs(container)


async def publish(blobs: BlobStore, folder: Path, version: str, model: bytes | None = None) -> None:
    written = write_version(folder, model or pixels_as_logits(), version=version, toml=TOML)
    await publish_version(written.path, blobs, "")


@pytest.fixture(scope="module")
def service(azurite: str, container: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    folder = tmp_path_factory.mktemp("models")

    async def publish_first() -> str:
        async with AzureStorage.connect(StorageSettings(connection_string=azurite)) as account:
            await publish(account.blobs(container), folder, "1")
            return account.blob_endpoint

    endpoint = asyncio.run(publish_first())
    settings = {
        "AzureWebJobsStorage": azurite,
        "INFERENCE_MODEL_REPOSITORY": f"{endpoint}/{container}",
        "INFERENCE_MODEL_CACHE": str(folder / "cache"),
        "INFERENCE_DEFAULT_MODEL": "tiny",
        "INFERENCE_MODEL_POLL_SECONDS": "0.01",
    }
    with HostProcess(ROOT, environment=settings) as host:
        yield host


@pytest.fixture
async def client(service: HostProcess) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"{service.url}/api/") as session:
        await ready(session)
        yield session


async def score(client: aiohttp.ClientSession, request_id: str = "one") -> Any:
    headers = {"x-request-id": request_id, "content-type": "image/png"}
    async with client.post("score", data=DIGIT.read_bytes(), headers=headers) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def call(client: aiohttp.ClientSession, method: str, path: str) -> tuple[int, Any]:
    async with client.request(method, path) as response:
        return response.status, await response.json()


async def test_version_is_rolled_out_refused_and_rolled_back_while_the_service_serves(
    client: aiohttp.ClientSession, azurite: str, container: str, tmp_path: Path
) -> None:
    async with open_container(azurite, container) as blobs:
        assert (await score(client))["version"] == "1"

        await publish(blobs, tmp_path, "2")
        await blobs.write("tiny/serving.toml", b"[canary]\nversion = 2\nshare = 0.5\n")
        status, model = await call(client, "POST", "models/tiny/reload")
        assert (status, model["version"], model["canary"]) == (200, "1", {"version": "2", "share": 0.5})
        assert (await call(client, "GET", "models/tiny"))[1]["canary"]["version"] == "2"
        async with client.post("models/tiny/versions/2/score", data=DIGIT.read_bytes()) as response:
            assert (await response.json())["version"] == "2"  # and so the canary is loaded
        replies = [await score(client, f"request-{number}") for number in range(40)]
        assert {reply["version"] for reply in replies} == {"1", "2"}
        assert [await score(client, reply["id"]) for reply in replies[:5]] == [
            {**reply, "timings_ms": pytest.approx(reply["timings_ms"], abs=1e9)} for reply in replies[:5]
        ]

        await blobs.delete("tiny/serving.toml")
        assert (await call(client, "POST", "models/tiny/reload"))[1]["version"] == "2"

        await publish(blobs, tmp_path, "3", b"broken")
        status, error = await call(client, "POST", "models/tiny/reload")
        assert (status, error["code"]) == (503, "model_unavailable")
        assert error["error"].startswith("tiny:3: model.onnx: onnxruntime refuses it")
        assert error["error"].endswith("Version 2 goes on serving.")
        assert (await score(client))["version"] == "2"
        status, readiness = await call(client, "GET", "ready")
        assert (status, readiness["models"][0]["version"]) == (200, "2")
        assert readiness["models"][0]["reason"].startswith("tiny:3: ")

        await remove_version(blobs, "", "tiny", "3")
        await remove_version(blobs, "", "tiny", "2")
        status, model = await call(client, "POST", "models/tiny/reload")
        assert (status, model["version"], model["reason"]) == (200, "1", None)
        assert (await score(client))["version"] == "1"


async def test_reload_of_an_unknown_model_is_404(client: aiohttp.ClientSession) -> None:
    status, error = await call(client, "POST", "models/other/reload")

    assert (status, error["code"]) == (404, "model_not_found")


async def test_timer_loads_a_new_version_that_no_request_has_asked_for(
    client: aiohttp.ClientSession, service: HostProcess, azurite: str, container: str, tmp_path: Path
) -> None:
    async with open_container(azurite, container) as blobs:
        await publish(blobs, tmp_path, "7")
    async with client.post(f"{service.url}/admin/functions/poll_models", json={}) as response:
        assert response.status == 202

    async def is_loaded() -> bool:
        _, listing = await call(client, "GET", "models")  # lists, and loads nothing
        return [model["version"] for model in listing["models"]] == ["7"]

    await eventually(is_loaded)
    async with open_container(azurite, container) as blobs:
        await remove_version(blobs, "", "tiny", "7")
    assert (await call(client, "POST", "models/tiny/reload"))[1]["version"] == "1"
