"""The real service: function_app.py on the local host with Azurite, its own models folder and an origin of photos."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.hosting import DEADLINE_SECONDS, HostProcess
from tests.origins import Origin
from tests.service.account import Account

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
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            async with session.get("ready") as response:
                if response.status == 200:
                    return
            await asyncio.sleep(0.05)


@pytest.fixture
async def account(azurite: str) -> AsyncIterator[Account]:
    account = Account(azurite)
    async with account.blobs, account.queues:
        yield account


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as origin:
        yield origin


@contextmanager
def serving(azurite: str, origin: Origin, **settings: str) -> Iterator[HostProcess]:
    allowed = {"INFERENCE_FETCH_ALLOW": f"127.0.0.1/32:{origin.port}", "INFERENCE_FETCH_HTTP": "true"}
    quick = {
        "INFERENCE_RETRY_BASE_SECONDS": "0.2",
        "INFERENCE_FINISH_POLL_SECONDS": "0.2",
        "INFERENCE_FINISH_POLL_CAP_SECONDS": "1",
        "AzureFunctionsJobHost__extensions__queues__visibilityTimeout": "00:00:01",
        "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:00.200",
    }
    with HostProcess(ROOT, environment=environment(azurite, **allowed, **quick, **settings)) as host:
        yield host


def serve_scans(origin: Origin) -> list[str]:
    return [origin.serve(f"/{scan.name}", scan.read_bytes()) for scan in sorted(SCANS.iterdir())]


@pytest.fixture
async def batches(azurite: str, origin: Origin) -> AsyncIterator[HostProcess]:
    with serving(azurite, origin) as host:
        yield host


async def api(host: HostProcess, method: str, route: str, **request: Any) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession(f"{host.url}/api/") as client,
        client.request(method, route, **request) as response,
    ):
        return response.status, await response.json()
