"""Scale-in: at SIGTERM a worker takes no more items, writes what it has, and gives the rest back inside 20 s."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest

from tests.faults.invariants import check_batch
from tests.faults.site import SCANS, Site, new_id
from tests.hosting import eventually
from tests.origins import Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCAN = (SCANS / "digit-5-a.png").read_bytes()
#: Of the 30 s that a Container Apps replica has between SIGTERM and SIGKILL.
SCALE_IN_SECONDS = 20.0


async def under_way(site: Site, paths: list[str]) -> None:
    """Wait until the origin was asked for all of these."""

    async def probe() -> bool:
        return all(site.origin.hits[path] for path in paths)

    await eventually(probe)


async def statuses(site: Site, batch_id: str) -> list[str]:
    """Return the statuses of the rows of the batch's first part."""
    part = await site.account.read("results", f"{batch_id}/parts/00000.jsonl")
    assert part is not None
    return [json.loads(line)["status"] for line in part.splitlines()]


async def test_a_host_that_is_told_to_end_finishes_what_is_under_way_and_leaves_the_rest_untouched(site: Site) -> None:
    batch_id, hold = new_id("ending"), asyncio.Event()
    held = [f"/{batch_id}/{i}.png" for i in (2, 3)]
    urls = [site.origin.serve(f"/{batch_id}/{i}.png", SCAN) for i in range(8)]
    for path in held:
        site.origin.answer(path, Reply(body=SCAN, hold=hold))
    async with site.serving(INFERENCE_SHARD_CONCURRENCY="2") as host:
        await site.submit(batch_id, urls)
        await under_way(site, held)
        host.send_signal(signal.SIGTERM)
        await asyncio.to_thread(host.wait_for_output, "draining")
        hold.set()

        assert await asyncio.to_thread(host.wait, SCALE_IN_SECONDS) == 0
        assert await statuses(site, batch_id) == ["succeeded"] * 4 + ["pending"] * 4
    async with site.serving():
        await site.ended(batch_id)
        await site.drained()

    rows = await check_batch(site, batch_id, urls)
    assert {(row["status"], row["attempts"]) for row in rows} == {("succeeded", 1)}
    assert [site.origin.hits[f"/{batch_id}/{i}.png"] for i in range(8)] == [1] * 8


async def test_an_item_that_does_not_end_is_given_back_uncharged_when_the_host_must_end(site: Site) -> None:
    batch_id, hold = new_id("stuck"), asyncio.Event()
    urls = [site.origin.serve(f"/{batch_id}/{i}.png", SCAN) for i in range(4)]
    site.origin.answer(f"/{batch_id}/1.png", Reply(body=SCAN, hold=hold), Reply(body=SCAN))
    async with site.serving(INFERENCE_FETCH_TIMEOUT_SECONDS="60") as host:
        await site.submit(batch_id, urls)
        await under_way(site, [f"/{batch_id}/1.png"])
        host.send_signal(signal.SIGTERM)

        assert await asyncio.to_thread(host.wait, SCALE_IN_SECONDS) == 0
        hold.set()
        assert await statuses(site, batch_id) == ["succeeded", "pending", "succeeded", "succeeded"]
    async with site.serving():
        await site.ended(batch_id)
        await site.drained()

    rows = await check_batch(site, batch_id, urls)
    assert [(row["status"], row["attempts"]) for row in rows] == [("succeeded", 1)] * 4


async def test_a_worker_that_is_told_to_end_alone_is_replaced_and_nothing_is_lost(site: Site) -> None:
    batch_id, hold = new_id("worker"), asyncio.Event()
    urls = [site.origin.serve(f"/{batch_id}/{i}.png", SCAN) for i in range(6)]
    site.origin.answer(f"/{batch_id}/1.png", Reply(body=SCAN, hold=hold), Reply(body=SCAN))
    async with site.serving(INFERENCE_SHARD_CONCURRENCY="2") as host:
        await site.submit(batch_id, urls)
        await under_way(site, [f"/{batch_id}/1.png"])
        pid = host.kill_worker(signal.SIGTERM)
        hold.set()

        async def is_replaced() -> bool:
            return pid not in host.worker_pids and bool(host.worker_pids)

        await eventually(is_replaced)
        await site.ended(batch_id)
        await site.drained()

        await check_batch(site, batch_id, urls)
