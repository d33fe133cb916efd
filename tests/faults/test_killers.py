"""Items that take everything down with them: each ends alone, its neighbours succeed, and the batch completes.

The hook is a model of the tests' own (`tests.faults.models`): no line of the product knows of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.invariants import check_batch
from tests.faults.site import Site, new_id
from tests.hosting import DEADLINE_SECONDS

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Each death is met at once: here it is how often that counts.
ACTOR = {
    "INFERENCE_DEFAULT_MODEL": "actor",
    "AzureFunctionsJobHost__extensions__queues__visibilityTimeout": "00:00:00",
}
MEMORY_CONTROL = Path("/sys/fs/cgroup/memory")
#: Twice what host and worker need, and less than what the item takes.
MEMORY_BYTES = 768 << 20


def by_index(rows: Sequence[dict[str, Any]]) -> dict[int, str]:
    """Return the codes of failed rows by index; the others must have the label that their text asked for."""
    for row in rows:
        if row["status"] == "succeeded":
            assert row["predictions"] == [{"label": str(row["index"] % 7), "score": 1.0}]
    return {row["index"]: row["error"]["code"] for row in rows if row["status"] == "failed"}


async def test_an_item_that_aborts_its_worker_ends_alone_as_worker_lost(site: Site) -> None:
    async with site.serving(**ACTOR):
        batch_id = new_id("abort")
        urls = site.texts(batch_id, 6, {2: "abort"})
        await run_to_the_end(site, batch_id, urls, mini_batch_size=2)

        rows = await check_batch(site, batch_id, urls)

    assert by_index(rows) == {2: "worker_lost"}
    # I15: halving bounds what is done again; its neighbour of two items is in the whole, and once more.
    assert all(site.origin.hits[f"/{batch_id}/{i}"] <= 4 for i in range(6))


async def test_an_item_that_takes_the_whole_container_down_ends_alone_as_worker_lost(site: Site) -> None:
    """Each death costs a lease, as on Azure, where nobody is left to release the message."""
    batch_id = new_id("container")
    urls = site.texts(batch_id, 4, {1: "end-container"})
    async with kept_alive(site, **ACTOR, DEVHOST_LEASE_SECONDS="2") as deaths:
        await run_to_the_end(site, batch_id, urls, mini_batch_size=2)

    rows = await check_batch(site, batch_id, urls)
    assert by_index(rows) == {1: "worker_lost"}
    assert len(deaths) <= 5


async def test_an_item_that_fills_the_memory_ends_alone_as_worker_lost(site: Site) -> None:
    """The kernel kills the worker of a container that is over its memory limit.

    At times it kills the host as well, before the worker's memory is back; then the platform starts the container anew.
    """
    batch_id = new_id("memory")
    urls = site.texts(batch_id, 4, {2: "fill-memory"})
    settings = ACTOR | {"INFERENCE_SHARD_CONCURRENCY": "1", "DEVHOST_LEASE_SECONDS": "2"}
    with limited_memory() as group:
        enter = ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")
        async with kept_alive(site, launcher=enter, **settings):
            await run_to_the_end(site, batch_id, urls, mini_batch_size=2)

    rows = await check_batch(site, batch_id, urls)
    assert by_index(rows) == {2: "worker_lost"}


async def test_an_item_that_never_returns_ends_alone_and_starves_nobody(site: Site) -> None:
    """Its thread cannot be ended, so its process is: else every later item would wait for a core that is gone."""
    settings = {
        "INFERENCE_DEFAULT_MODEL": "actor",
        "INFERENCE_ITEM_TIMEOUT_SECONDS": "1",
        "INFERENCE_MAX_ATTEMPTS": "2",
    }
    async with site.serving(**settings):
        batch_id = new_id("hang")
        urls = site.texts(batch_id, 6, {2: "hang"})
        await run_to_the_end(site, batch_id, urls, mini_batch_size=2)

        rows = await check_batch(site, batch_id, urls)

    assert by_index(rows) == {2: "worker_lost"}


async def test_an_item_that_outlives_the_function_time_out_ends_alone_as_worker_lost(site: Site) -> None:
    settings = {**ACTOR, "AzureFunctionsJobHost__functionTimeout": "00:00:04"}
    async with site.serving(**settings) as host:
        batch_id = new_id("timeout")
        urls = site.texts(batch_id, 4, {3: "hang"})
        await run_to_the_end(site, batch_id, urls, mini_batch_size=1)

        rows = await check_batch(site, batch_id, urls)

        assert by_index(rows) == {3: "worker_lost"}
        assert "Timeout value of 4 s was exceeded" in host.output


async def run_to_the_end(site: Site, batch_id: str, urls: list[str], *, mini_batch_size: int) -> None:
    """Submit a batch, and wait until it has ended and no message of it is left."""
    await site.submit(batch_id, urls, mini_batch_size=mini_batch_size)
    await site.ended(batch_id)
    await site.drained()


@asynccontextmanager
async def kept_alive(site: Site, *, launcher: Sequence[str] = (), **settings: str) -> AsyncIterator[list[int]]:
    """Start a new host whenever one has died, as the platform does; gives the exit codes so far once one listens."""
    deaths: list[int] = []
    listening = asyncio.Event()

    async def keep() -> None:
        while True:
            async with site.serving(launcher=launcher, **settings) as host:
                listening.set()
                deaths.append(await asyncio.to_thread(host.wait, 300))

    keeper = asyncio.create_task(keep())
    try:
        await asyncio.wait_for(listening.wait(), DEADLINE_SECONDS)
        yield deaths
    finally:
        keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeper


@contextmanager
def limited_memory() -> Iterator[Path]:
    """Make a control group with little memory; skips where that takes rights that this process lacks."""
    unified = not MEMORY_CONTROL.is_dir()
    group = (MEMORY_CONTROL.parent if unified else MEMORY_CONTROL) / f"onnxfn-test-{uuid.uuid4().hex}"
    limit = "memory.max" if unified else "memory.limit_in_bytes"
    try:
        group.mkdir()
        (group / limit).write_text(str(MEMORY_BYTES))
    except OSError as exc:
        pytest.skip(f"no control group can be made here: {exc.strerror}")
    try:
        yield group
    finally:
        wait_until_empty(group)
        group.rmdir()


def wait_until_empty(group: Path) -> None:
    """Wait for the workers of hosts that were killed: a group that has processes cannot be removed."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (group / "cgroup.procs").read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
