"""The services of a process: built once, whoever asks first and leaves, and not again once it has drained."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from inference import wiring
from inference.draining import Draining
from inference.errors import SettingsError, ShuttingDown
from inference.http.messages import Request, Response, json_response


class Drained(Draining):
    """Is told to drain by the test, and leaves the test's own SIGTERM alone."""

    def __init__(self) -> None:
        super().__init__()
        self.closers: list[Callable[[], Awaitable[None]]] = []

    def listen(self, close: Callable[[], Awaitable[None]]) -> None:
        self.closers.append(close)


class Builds:
    """Stands for the composition root: builds what answers one route, once `gate` is open."""

    def __init__(self) -> None:
        self.count = 0
        self.closed = 0
        self.begun = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.failures: list[Exception] = []
        self.draining = Drained()

    def __call__(self) -> Any:
        self.count += 1
        self.begun.set()
        self.gate.wait()
        if self.failures:
            raise self.failures.pop()
        return SimpleNamespace(draining=self.draining, routes={"health": _answer}, deliveries={}, close=self.close)

    async def close(self) -> None:
        self.closed += 1


async def _answer(_: Request) -> Response:
    return json_response({})


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> Iterator[Builds]:
    for name, value in (("_services", None), ("_building", None), ("_has_drained", False)):
        monkeypatch.setattr(wiring, name, value)
    builds = Builds()
    monkeypatch.setattr(wiring, "_build", builds)
    yield builds
    builds.gate.set()


async def ask() -> tuple[int, str | None]:
    status, body, _ = await wiring.respond("health", "GET", "https://app.example/api/health", {}, {}, {}, b"")
    return status, json.loads(body).get("code")


async def test_a_first_caller_that_leaves_has_nothing_built_twice(builds: Builds) -> None:
    builds.gate.clear()
    first, second = (asyncio.create_task(wiring.get_services()) for _ in range(2))
    await asyncio.to_thread(builds.begun.wait)
    first.cancel()
    await asyncio.wait({first})
    third = asyncio.create_task(wiring.get_services())
    builds.gate.set()

    assert await second is await third
    assert builds.count == 1


async def test_settings_that_were_wrong_are_read_again(builds: Builds) -> None:
    builds.failures.append(SettingsError(["wrong"]))

    assert await ask() == (503, "misconfigured")
    assert await ask() == (200, None)


async def test_what_is_asked_after_the_drain_builds_nothing_anew(builds: Builds) -> None:
    assert await ask() == (200, None)
    (close,) = builds.draining.closers
    await close()

    assert await ask() == (503, "shutting_down")
    with pytest.raises(ShuttingDown):
        await wiring.handle("batch-shards", b"", "id", 1)
    assert (builds.count, builds.closed) == (1, 1)


async def test_what_is_being_built_is_closed_too(builds: Builds) -> None:
    builds.gate.clear()
    building = asyncio.create_task(wiring.get_services())
    await asyncio.to_thread(builds.begun.wait)
    closing = asyncio.create_task(wiring.close())
    builds.gate.set()
    await asyncio.gather(building, closing)

    assert builds.closed == 1
