"""The order in which an instance prepares itself."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from inference.draining import Draining
from inference.models import loading, session_cache
from inference.models.loading import load_ready_session
from inference.models.repository import ModelVersion
from inference.models.session import ModelSession
from inference.services import composition
from inference.services.composition import Services
from inference.services.later import Surface
from tests.unit.models.published import pixels_as_logits, write_version


class Steps:
    """Stands for models and storage, and notes when each was ready."""

    def __init__(self, models: asyncio.Event) -> None:
        self.done: list[str] = []
        self.loaded = asyncio.Event()
        self._models = models

    async def load(self) -> None:
        await self._models.wait()
        self.done.append("models")
        self.loaded.set()

    async def get(self) -> Steps:
        return self

    async def prepare(self) -> None:
        self.done.append("storage")
        self._models.set()


def services(steps: Steps, *, prepares_storage: bool = True, draining: Draining | None = None) -> Services:
    parts = cast("Any", steps)
    return Services(
        {},
        {},
        draining or Draining(),
        status_routes=parts,
        registry=parts,
        scoring=parts,
        batches=parts,
        prepares_storage=prepares_storage,
        closers=[],
    )


async def test_models_go_first() -> None:
    models = asyncio.Event()
    models.set()
    steps = Steps(models)

    await services(steps).prepare()

    assert steps.done == ["models", "storage"]


async def test_the_request_that_waited_for_the_model_goes_before_storage() -> None:
    models = asyncio.Event()
    steps, draining = Steps(models), Draining()
    request_is_served = asyncio.Event()

    async def answer_request() -> None:
        with draining.work():
            await models.wait()
            await request_is_served.wait()
            steps.done.append("request")

    answering = asyncio.create_task(answer_request())
    preparing = asyncio.create_task(services(steps, draining=draining).prepare())
    models.set()
    await steps.loaded.wait()
    for _ in range(10):  # turns enough for storage, if it did not wait
        await asyncio.sleep(0)
    assert steps.done == ["models"]
    request_is_served.set()
    await asyncio.gather(answering, preparing)

    assert steps.done == ["models", "request", "storage"]


async def test_storage_is_left_alone_where_its_queues_and_containers_are_there() -> None:
    models = asyncio.Event()
    models.set()
    steps = Steps(models)

    await services(steps, prepares_storage=False).prepare()

    assert steps.done == ["models"]


async def test_a_model_that_is_long_in_coming_keeps_no_message_from_its_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composition, "_MODELS_FIRST_SECONDS", 0.0)
    steps = Steps(asyncio.Event())

    async with asyncio.timeout(120):
        await services(steps).prepare()

    assert steps.done == ["storage", "models"]


async def test_models_whose_loads_do_not_end_hold_up_no_other_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    held = [f"held-{number}" for number in range(5)]
    for name in (*held, "tiny"):
        write_version(tmp_path, pixels_as_logits(), name=name)
    may_end = threading.Event()

    def load(version: ModelVersion, **options: Any) -> ModelSession:
        if version.name in held:
            may_end.wait(600)
        return load_ready_session(version, **options)

    monkeypatch.setattr(loading, "load_ready_session", load)
    monkeypatch.setattr(session_cache, "TURN_SECONDS", 0.01)
    environ = {
        "INFERENCE_MODEL_REPOSITORY": str(tmp_path),
        "INFERENCE_DEFAULT_MODEL": "tiny",
        "OTEL_SDK_DISABLED": "true",
    }
    built = composition.build(environ)
    waiting = [asyncio.create_task(built.registry.get(name)) for name in held]
    try:
        async with asyncio.timeout(120):
            assert (await built.registry.get("tiny")).version.name == "tiny"
        assert not any(task.done() for task in waiting)
    finally:
        may_end.set()
        await asyncio.gather(*waiting)
        await built.close()


async def test_a_model_is_loaded_while_what_else_scores_is_imported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_version(tmp_path, pixels_as_logits(), name="tiny")
    has_loaded = threading.Event()

    def load(version: ModelVersion, **options: Any) -> ModelSession:
        has_loaded.set()
        return load_ready_session(version, **options)

    def build_scoring(*_: object) -> Surface:
        assert has_loaded.wait(30)  # it holds the turn to import
        return Surface({})

    monkeypatch.setattr(loading, "load_ready_session", load)
    monkeypatch.setattr(composition, "_build_scoring", build_scoring)
    environ = {
        "INFERENCE_MODEL_REPOSITORY": str(tmp_path),
        "INFERENCE_DEFAULT_MODEL": "tiny",
        "OTEL_SDK_DISABLED": "true",
    }
    built = composition.build(environ)
    try:
        await built.scoring.get()
        assert (await built.registry.get("tiny")).version.name == "tiny"
    finally:
        await built.close()


async def test_what_cannot_be_closed_keeps_nothing_else_open(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    async def close() -> None:
        closed.append("first")

    async def fail() -> None:
        closed.append("last")
        raise OSError

    async def hang() -> None:
        closed.append("endless")
        await asyncio.Event().wait()

    monkeypatch.setattr(composition, "_CLOSE_SECONDS", 0.0)
    opened = services(Steps(asyncio.Event()))
    opened.closers.extend([close, hang, fail])
    async with asyncio.timeout(120):
        await opened.close()

    assert closed == ["last", "endless", "first"]
