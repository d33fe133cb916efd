"""A deployment of its own for each module: what one module breaks, and its messages, no other one meets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from devhost.azurite import Azurite
from tests.faults.models import write_models
from tests.faults.proxy import FaultProxy
from tests.faults.site import Site
from tests.origins import Origin
from tests.service.account import Account


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory, azurite_executable: Path) -> AsyncIterator[Site]:
    azurite = Azurite(tmp_path_factory.mktemp("azurite"), executable=azurite_executable)
    await asyncio.to_thread(azurite.start)
    try:
        async with Origin() as origin, FaultProxy(azurite.connection_string) as proxy:
            account = Account(azurite.connection_string)
            async with account.blobs, account.queues:
                yield Site(azurite, proxy, origin, account, write_models(tmp_path_factory.mktemp("models")))
    finally:
        await asyncio.to_thread(azurite.stop)
