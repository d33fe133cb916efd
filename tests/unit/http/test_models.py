"""The model routes and readiness on a registry over a real folder: what is told of swaps that were refused."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from inference.errors import DeadlineExceeded, ModelNotFound, ModelUnavailable
from inference.http.messages import Request, Response
from inference.http.models import ModelRoutes
from inference.http.openapi import document
from inference.http.status_pages import StatusRoutes
from inference.models.loading import load_ready_session
from inference.models.registry import ModelRegistry
from inference.models.repository import ModelRepository, ModelVersion
from inference.models.session import ModelSession
from inference.models.source import FolderSource
from inference.settings import RequestLimits
from tests.json_schema import problems
from tests.unit.models.published import pixels_as_logits, write_version

DOCUMENT = document("1.2.3", "https://app.example/api")
TINY = Request("GET", "", path={"model": "tiny"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_version(tmp_path, pixels_as_logits())
    return tmp_path


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
def registry(folder: Path, executor: ThreadPoolExecutor) -> ModelRegistry:
    return ModelRegistry(FolderSource(ModelRepository(folder), executor), executor, load=load_ready_session)


@pytest.fixture
def routes(registry: ModelRegistry) -> ModelRoutes:
    return ModelRoutes(registry, RequestLimits())


def body(response: Response, schema: str) -> dict[str, Any]:
    """Return the reply, which is what the API's description says."""
    value: dict[str, Any] = json.loads(response.body)
    assert list(problems(value, {"$ref": f"#/components/schemas/{schema}"}, DOCUMENT)) == []
    return value


async def test_model_is_described_with_its_canary(routes: ModelRoutes, folder: Path) -> None:
    write_version(folder, pixels_as_logits(), version="2", labels=["a", "b", "c", "d"])
    (folder / "tiny" / "serving.toml").write_text("[canary]\nversion = 2\nshare = 0.25\n")
    model = body(await routes.show(TINY), "Model")

    assert (model["version"], model["state"], model["reason"]) == ("1", "ready", None)
    assert model["canary"] == {"version": "2", "share": 0.25}


async def test_reload_brings_the_new_version_and_the_same_reply_as_show(routes: ModelRoutes, folder: Path) -> None:
    assert body(await routes.show(TINY), "Model")["version"] == "1"
    write_version(folder, pixels_as_logits(), version="2")

    assert body(await routes.show(TINY), "Model")["version"] == "1"
    reloaded = body(await routes.reload(TINY), "Model")
    assert reloaded["version"] == "2"
    assert reloaded == body(await routes.show(TINY), "Model")


async def test_a_model_that_cannot_serve_is_described_with_the_reason(routes: ModelRoutes, folder: Path) -> None:
    write_version(folder, b"broken", name="torn")
    model = body(await routes.show(Request("GET", "", path={"model": "torn"})), "Model")

    assert (model["state"], model["versions"][0]["state"]) == ("failed", "failed")
    assert model["reason"].startswith("torn:1: model.onnx: ")


async def test_a_model_that_loads_for_longer_than_a_request_may_take_is_loading(
    folder: Path, executor: ThreadPoolExecutor
) -> None:
    is_done = threading.Event()

    def load(version: ModelVersion) -> ModelSession:
        is_done.wait()
        return load_ready_session(version)

    registry = ModelRegistry(FolderSource(ModelRepository(folder), executor), executor, load=load)
    routes = ModelRoutes(registry, RequestLimits(timeout_seconds=0.1))
    try:
        async with asyncio.timeout(120):
            reply = await routes.show(TINY)
            with pytest.raises(DeadlineExceeded, match="it goes on"):
                await routes.reload(TINY)
    finally:
        is_done.set()

    assert body(reply, "Model")["state"] == "loading"
    assert body(await ModelRoutes(registry, RequestLimits()).show(TINY), "Model")["state"] == "ready"
    await registry.close()


async def test_version_that_was_refused_is_told_beside_the_one_that_serves(
    routes: ModelRoutes, registry: ModelRegistry, folder: Path
) -> None:
    await routes.show(TINY)
    write_version(folder, b"broken", version="2")
    with pytest.raises(ModelUnavailable, match="Version 1 goes on serving"):
        await routes.reload(TINY)
    (model,) = body(await routes.list(TINY), "Models")["models"]
    ready = await StatusRoutes(registry, ["tiny"], "1.2.3").ready(TINY)

    assert (model["version"], model["state"]) == ("1", "ready")
    assert model["reason"].startswith("tiny:2: model.onnx: ")
    assert [version["state"] for version in model["versions"]] == ["ready", "failed"]
    assert model["versions"][1]["reason"] == model["reason"]
    assert ready.status == 200
    assert body(ready, "Readiness")["models"] == [
        {"model": "tiny", "version": "1", "state": "ready", "reason": model["reason"]}
    ]


async def test_broken_serving_file_is_told_of_the_model(routes: ModelRoutes, folder: Path) -> None:
    (folder / "tiny" / "serving.toml").write_text("version = 9")
    (model,) = body(await routes.list(TINY), "Models")["models"]

    assert (model["version"], model["state"]) == (None, "failed")
    assert model["reason"] == "tiny: serving.toml pins version 9, which is not published."


async def test_reload_of_an_unknown_model_is_not_found(routes: ModelRoutes) -> None:
    with pytest.raises(ModelNotFound):
        await routes.reload(Request("POST", "", path={"model": "other"}))
