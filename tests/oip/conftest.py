"""The server that the suite talks to: one by url, or this service on models made for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.hosting import HostProcess
from tests.oip.models import write_repository
from tests.oip.server import Server
from tests.service.conftest import ROOT, environment, ready


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("Open Inference Protocol")
    group.addoption("--server", help="http://HOST:PORT[/PREFIX] of a server; /v2 is below it")
    group.addoption("--server-key", help="sent as x-functions-key")
    group.addoption(
        "--oip-model", action="append", default=[], metavar="ROLE=NAME", help="identity_fp32, …, add, image"
    )


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with every role."""
    folder = tmp_path_factory.mktemp("repository")
    write_repository(folder)
    return folder


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The server under test."""
    url = request.config.getoption("--server", None)
    if url:
        models = dict(entry.split("=", 1) for entry in request.config.getoption("--oip-model"))
        key = request.config.getoption("--server-key")
        yield Server(url.rstrip("/"), models, {"x-functions-key": key} if key else {})
        return
    folder: Path = request.getfixturevalue("repository")
    storage: str = request.getfixturevalue("new_account")()
    settings = {"INFERENCE_MODEL_REPOSITORY": str(folder), "INFERENCE_DEFAULT_MODEL": "simple"}
    with HostProcess(ROOT, environment=environment(storage, **settings)) as host:
        asyncio.run(wait_until_ready(f"{host.url}/api/"))
        names = {path.name: path.name for path in folder.iterdir()}
        yield Server(f"{host.url}/api", {**names, "add": "simple", "image": "pixels"}, is_ours=True)


@pytest.fixture
def ours(server: Server) -> Server:
    """The server under test when it is this service; tests of what the protocol leaves open skip for others."""
    if not server.is_ours:
        pytest.skip("the protocol leaves this open")
    return server


async def wait_until_ready(url: str) -> None:
    async with aiohttp.ClientSession(url) as session:
        await ready(session)
