"""Scale-in: at SIGTERM a worker takes no more items, writes what it has, gives back the rest within the host's 10 s."""

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


async def test_a_host_that_is_told_to_end_finishes_what_it_can_and_gives_the_rest_back_uncharged(site: Site) -> None:
    """Of one batch two items end soon after SIGTERM and four were not begun; of the other one item does not end."""
    ending, stuck = new_id("ending"), new_id("stuck")
    soon, never = asyncio.Event(), asyncio.Event()
    urls = {
        batch_id: [site.origin.serve(f"/{batch_id}/{i}.png", SCAN) for i in range(count)]
        for batch_id, count in ((ending, 8), (stuck, 4))
    }
    for i in (2, 3):
        site.origin.answer(f"/{ending}/{i}.png", Reply(body=SCAN, hold=soon))
    site.origin.answer(f"/{stuck}/1.png", Reply(body=SCAN, hold=never), Reply(body=SCAN))
    async with site.serving(INFERENCE_SHARD_CONCURRENCY="2", INFERENCE_FETCH_TIMEOUT_SECONDS="60") as host:
        for batch_id in urls:
            await site.submit(batch_id, urls[batch_id])
        # The last item is asked for once its neighbours are done, but for the one that holds a place for ever.
        await under_way(site, [f"/{ending}/2.png", f"/{ending}/3.png", f"/{stuck}/1.png", f"/{stuck}/3.png"])
        host.send_signal(signal.SIGTERM)
        await asyncio.to_thread(host.wait_for_output, "draining")
        soon.set()

        assert await asyncio.to_thread(host.wait, SCALE_IN_SECONDS) == 0
        assert "cut short" not in host.output
        never.set()
        assert await statuses(site, ending) == ["succeeded"] * 4 + ["pending"] * 4
        assert await statuses(site, stuck) == ["succeeded", "pending", "succeeded", "succeeded"]
    async with site.serving():
        await site.ended(*urls)
        await site.drained()

    for batch_id in urls:
        rows = await check_batch(site, batch_id, urls[batch_id])
        assert {(row["status"], row["attempts"]) for row in rows} == {("succeeded", 1)}
    assert [site.origin.hits[f"/{ending}/{i}.png"] for i in range(8)] == [1] * 8


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
