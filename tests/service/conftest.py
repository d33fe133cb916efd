"""The real service: function_app.py on the local host with Azurite, its own models folder and an origin of photos."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.hosting import HostProcess

ROOT = Path(__file__).parents[2]
SCANS = ROOT / "samples" / "images" / "digits"


def environment(storage: str, **settings: str) -> dict[str, str]:
    """Return the settings of a service under test: warnings of libraries in the worker are not this suite's."""
    return {
        "AzureWebJobsStorage": storage,
        "INFERENCE_MODEL_REPOSITORY": str(ROOT / "samples" / "models"),
        "INFERENCE_DEFAULT_MODEL": "digits",
        **settings,
    }


@pytest.fixture(scope="module")
def service(azurite: str) -> Iterator[HostProcess]:
    with HostProcess(ROOT, environment=environment(azurite)) as host:
        yield host


@pytest.fixture
async def client(service: HostProcess) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"{service.url}/api/") as session:
        await ready(session)
        yield session


async def ready(session: aiohttp.ClientSession) -> None:
    """Wait until the configured models are warm."""
    async with asyncio.timeout(30):
        while True:
            async with session.get("ready") as response:
                if response.status == 200:
                    return
            await asyncio.sleep(0.05)
