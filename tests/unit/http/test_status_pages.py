"""Readiness: 200 once every configured model is warm, and not taken back while they are."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest

from inference.http.messages import Request
from inference.http.status_pages import StatusRoutes
from inference.models.loading import load_ready_session
from inference.models.registry import ModelRegistry
from inference.models.repository import ModelRepository
from inference.models.session import ModelSession
from inference.models.source import FolderSource

MODELS = Path(__file__).parents[3] / "samples/models"
REQUEST = Request("GET", "http://localhost:7071/api", id="r")


class CountingRegistry(ModelRegistry):
    """The registry, which counts the sessions it was asked for."""

    asked = 0

    async def get(self, name: str, version: str | None = None, *, sticky_key: str | None = None) -> ModelSession:
        self.asked += 1
        return await super().get(name, version, sticky_key=sticky_key)


@pytest.fixture
async def registry() -> AsyncIterator[CountingRegistry]:
    with ThreadPoolExecutor(max_workers=1) as executor:
        yield CountingRegistry(FolderSource(ModelRepository(MODELS), executor), executor, load=load_ready_session)


async def wait_until_ready(routes: StatusRoutes) -> None:
    async with asyncio.timeout(120):
        while (await routes.ready(REQUEST)).status != 200:
            pass


async def test_it_is_ready_once_the_models_are_warm(registry: CountingRegistry) -> None:
    routes = StatusRoutes(registry, ("digits",), "1.2.3")

    await wait_until_ready(routes)

    body = orjson.loads((await routes.ready(REQUEST)).body)
    assert body == {"status": "ready", "models": [{"model": "digits", "version": "1", "state": "ready"}]}


async def test_what_is_warm_is_not_loaded_again_by_a_probe(registry: CountingRegistry) -> None:
    """It would be `loading` for a moment, and a 503, whenever the loop is slow to finish that."""
    routes = StatusRoutes(registry, ("digits",), "1.2.3")
    await wait_until_ready(routes)

    before = registry.asked
    await routes.ready(REQUEST)
    assert registry.asked - before == 1


async def test_a_model_that_cannot_be_loaded_is_a_503_with_its_reason(registry: CountingRegistry) -> None:
    routes = StatusRoutes(registry, ("digits", "nobody"), "1.2.3")

    async with asyncio.timeout(120):
        while True:
            response = await routes.ready(REQUEST)
            body = orjson.loads(response.body)
            if body["models"][0]["state"] == "ready":
                break

    assert response.status == 503
    assert (body["code"], body["error"], body["request_id"]) == ("model_unavailable", "Not ready: nobody.", "r")
    assert body["models"][1]["code"] == "model_not_found"


async def test_it_lives_and_names_its_build(registry: CountingRegistry) -> None:
    routes = StatusRoutes(registry, ("digits",), "1.2.3")
    await wait_until_ready(routes)

    assert orjson.loads((await routes.health(REQUEST)).body) == {"status": "live"}
    build = orjson.loads((await routes.version(REQUEST)).body)
    assert build["version"] == "1.2.3"
    assert [(model["model"], model["version"], len(model["sha256"])) for model in build["models"]] == [
        ("digits", "1", 64)
    ]
