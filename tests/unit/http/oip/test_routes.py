"""What the routes answer on a real registry whose models come, go and are rolled out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest

from inference.engine import Engine
from inference.errors import DeadlineExceeded, ModelUnavailable
from inference.http.messages import Request, json_response
from inference.http.oip.infer import Limits
from inference.http.oip.routes import OipRoutes
from inference.models.loading import load_ready_session
from inference.models.registry import ModelRegistry
from inference.models.repository import ModelRepository
from inference.models.source import FolderSource
from inference.settings import FetchLimits, ImageSettings, RequestLimits
from tests.unit.models.published import pixels_as_logits, write_version

TENSOR = {"name": "input", "datatype": "FP32", "shape": [1, 1, 2, 2], "data": [1, 2, 3, 4]}

type NewRoutes = Callable[..., OipRoutes]


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=1) as executor:
        yield executor


@pytest.fixture
async def new_routes(tmp_path: Path, executor: ThreadPoolExecutor) -> AsyncIterator[NewRoutes]:
    """Makes routes to the models in the test's folder."""
    registries, engine = [], Engine(1, 0)

    def make(*, timeout_seconds: float = 60.0, **options: Any) -> OipRoutes:
        source = FolderSource(ModelRepository(tmp_path), executor)
        registry = ModelRegistry(source, executor, load=load_ready_session, **options)
        registries.append(registry)
        limits = Limits(RequestLimits(timeout_seconds=timeout_seconds), ImageSettings(), FetchLimits())
        return OipRoutes(registry, engine, limits, _is_ready, name="test", version="1")

    yield make
    engine.close()
    for registry in registries:
        await registry.close()


async def _is_ready(_: Request) -> Any:
    return json_response({})


async def call(routes: OipRoutes, name: str, request: Any = None, **path: str) -> Any:
    body = orjson.dumps(request) if request is not None else b""
    return orjson.loads((await routes.handlers()[name](Request("POST", "", path, body=body, id="r"))).body or b"null")


async def test_statistics_without_a_version_are_never_the_canarys(new_routes: NewRoutes, tmp_path: Path) -> None:
    for version in ("1", "2"):
        write_version(tmp_path, pixels_as_logits(), version=version)
    (tmp_path / "tiny" / "serving.toml").write_text("version = 1\n[canary]\nversion = 2\nshare = 1.0\n")
    routes = new_routes()

    async def counted(**path: str) -> list[tuple[str, int]]:
        stats = (await call(routes, "oip_statistics", **path))["model_stats"]
        return [(each["version"], each["inference_count"]) for each in stats]

    await call(routes, "oip_model", model="tiny")
    await call(routes, "oip_model", model="tiny", version="2")  # waits for the canary's load, which is under way
    reply = await call(routes, "oip_infer", {"inputs": [TENSOR]}, model="tiny")

    assert reply["model_version"] == "2"
    assert await counted(model="tiny") == [("1", 0)]
    assert await counted(model="tiny", version="2") == [("2", 1)]
    assert await counted() == [("1", 0), ("2", 1)]


async def test_a_model_that_was_brought_back_and_then_made_room_is_loaded_by_its_probe(
    new_routes: NewRoutes, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        write_version(tmp_path, pixels_as_logits(), name=name)
    routes = new_routes(memory_bytes=20 << 20)

    await call(routes, "oip_unload", model="a")
    with pytest.raises(ModelUnavailable, match="was unloaded"):
        await call(routes, "oip_model_ready", model="a")
    await call(routes, "oip_infer", {"inputs": [TENSOR]}, model="a")
    await call(routes, "oip_model", model="b")  # there is room for one

    assert {each["name"]: each["state"] for each in await call(routes, "oip_index")}["a"] == "UNAVAILABLE"
    assert await call(routes, "oip_model_ready", model="a") == {"name": "a", "ready": True}


@pytest.mark.parametrize("route", ["oip_model", "oip_model_ready", "oip_config", "oip_statistics", "oip_load"])
async def test_a_load_is_waited_for_no_longer_than_a_request_may_take(
    route: str, new_routes: NewRoutes, tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    write_version(tmp_path, pixels_as_logits())
    is_done = threading.Event()
    executor.submit(is_done.wait)  # the only thread that could load it

    try:
        async with asyncio.timeout(120):
            with pytest.raises(DeadlineExceeded):
                await call(new_routes(timeout_seconds=0.1), route, model="tiny")
    finally:
        is_done.set()
