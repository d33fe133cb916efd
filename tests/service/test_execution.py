"""Execution plans on the running service: tuned before it is ready, shown, and joined items that answer as single."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inference.models.manifest import write_manifest
from tests.hosting import HostProcess
from tests.service.conftest import ROOT, SCANS, environment

JOINING = "\n[execution]\nthreads = 1\nmax_batch = 4\n"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits model twice: as it is, and with items that are joined."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(ROOT / "samples/models/digits", folder / "digits")
    shutil.copytree(ROOT / "samples/models/digits", folder / "joining")
    version = folder / "joining/1"
    (version / "model.toml").write_text((version / "model.toml").read_text() + JOINING)
    write_manifest(version)
    return folder


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plans")


@pytest.fixture(scope="module")
def service(azurite: str, models: Path, plans: Path) -> Iterator[HostProcess]:
    settings = {
        "INFERENCE_MODEL_REPOSITORY": str(models),
        "INFERENCE_WARM_MODELS": "joining",
        "INFERENCE_TUNING": "warm-up",
        "INFERENCE_PLAN_CACHE": str(plans),
        "INFERENCE_CORES": "2",
        "INFERENCE_EXECUTION_PROVIDERS": "CPUExecutionProvider",
    }
    with HostProcess(ROOT, environment=environment(azurite, **settings)) as host:
        yield host


async def read(client: aiohttp.ClientSession, path: str) -> Any:
    async with client.get(path) as response:
        assert response.status == 200
        return await response.json()


async def test_tuned_plan_is_shown_and_kept_outside_of_the_version(
    client: aiohttp.ClientSession, models: Path, plans: Path
) -> None:
    before = sorted(path.name for path in (ROOT / "samples/models/digits/1").iterdir())

    shown = [(await read(client, f"models/{name}"))["execution"] for name in ("digits", "joining")]

    # On a machine that others use at the same time there may be no plan to keep.
    kept = [path.suffix for path in plans.iterdir()]
    assert (shown[0]["origin"], kept) in (("tuned", [".json"]), ("default", []))
    assert 1 <= shown[0]["threads"] <= shown[0]["idle_threads"] <= 2
    assert shown[1] == {
        "threads": 1,
        "parallel": 2,
        "max_batch": 4,
        "idle_threads": 1,
        "spinning": False,
        "origin": "declared",
    }
    assert sorted(path.name for path in (models / "digits/1").iterdir()) == before


async def test_joined_images_get_the_scores_of_single_ones_and_a_bad_one_fails_alone(
    client: aiohttp.ClientSession,
) -> None:
    bodies = [path.read_bytes() for path in sorted(SCANS.iterdir())]

    async def score(model: str, body: bytes) -> tuple[int, Any]:
        async with client.post(f"models/{model}/score", data=body, headers={"content-type": "image/png"}) as response:
            return response.status, await response.json()

    single = [await score("digits", body) for body in bodies]
    joined = await asyncio.gather(*(score("joining", body) for body in [*bodies, b"\x89PNG\r\n\x1a\nbroken"]))

    assert (joined[-1][0], joined[-1][1]["code"]) == (422, "image_invalid")
    for (status, alone), (joined_status, together) in zip(single, joined[:-1], strict=True):
        assert (status, joined_status) == (200, 200)
        assert [p["label"] for p in together["predictions"]] == [p["label"] for p in alone["predictions"]]
        for one, other in zip(alone["predictions"], together["predictions"], strict=True):
            assert other["score"] == pytest.approx(one["score"], abs=1e-5)
