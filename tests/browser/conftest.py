"""A browser's tab for each test, and the running service that its pages come from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.browser.chromium import Tab, find_chromium, open_tab
from tests.hosting import HostProcess
from tests.service.conftest import ROOT, environment, ready


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path; a browser is no requirement of the suite."""
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on this machine")
    return program


@pytest.fixture
async def tab(chromium: str, tmp_path: Path) -> AsyncIterator[Tab]:
    """An open tab; the test fails if the page complained of anything that the test did not take note of."""
    async with open_tab(chromium, tmp_path / "profile") as tab:
        yield tab
        assert tab.complaints == []


@pytest.fixture(scope="module")
def service(chromium: str, azurite: str) -> Iterator[HostProcess]:
    with HostProcess(ROOT, environment=environment(azurite)) as host:
        yield host


@pytest.fixture
async def api(service: HostProcess) -> str:
    """The address of the API once its models are warm."""
    return await warm(service)


async def warm(host: HostProcess) -> str:
    """Wait until a host's models are warm and return the address of its API."""
    async with aiohttp.ClientSession(f"{host.url}/api/") as session:
        await ready(session)
    return f"{host.url}/api"
