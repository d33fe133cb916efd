"""Holders of one message, clocks and storage that disagree: one write counts, and nobody decides by the time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults import proxy
from tests.faults.invariants import check_batch
from tests.faults.site import SCANS, Site, new_id, serve_pool
from tests.hosting import DEADLINE_SECONDS, HostProcess, eventually, wake
from tests.origins import Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCAN = (SCANS / "digit-5-a.png").read_bytes()
LABEL = "5"
#: `sitecustomize.py`: Python imports it before anything else.
SKEW = """
import datetime
import os
import time

_SECONDS = float(os.environ["TEST_CLOCK_SKEW_SECONDS"])
_time = time.time
time.time = lambda: _time() + _SECONDS
_datetime = datetime.datetime


class Skewed(_datetime):
    @classmethod
    def now(cls, tz=None):
        return _datetime.now(tz) + datetime.timedelta(seconds=_SECONDS)

    @classmethod
    def utcnow(cls):
        return _datetime.utcnow() + datetime.timedelta(seconds=_SECONDS)


datetime.datetime = Skewed
"""


def serve_held(site: Site, batch_id: str, hold: asyncio.Event, *, held_requests: int) -> list[str]:
    """Serve five scans, the third of which is answered only once `hold` is set."""
    replies = [Reply(body=SCAN, hold=hold)] * held_requests
    urls = [site.origin.serve(f"/{batch_id}/{i}.png", SCAN) for i in range(5)]
    site.origin.answer(f"/{batch_id}/2.png", *replies, Reply(body=SCAN))
    return urls


async def asked(site: Site, path: str, times: int) -> None:
    """Wait until the origin was asked for a path so often."""

    async def probe() -> bool:
        return site.origin.hits[path] >= times

    await eventually(probe)


async def check_labels(site: Site, batch_id: str, urls: Sequence[str]) -> None:
    """Check the batch, each row of which is a five."""
    rows = await check_batch(site, batch_id, urls)
    assert [row["predictions"][0]["label"] for row in rows] == [LABEL] * len(urls)


async def test_a_container_paused_past_its_lease_does_no_harm_when_it_wakes_up(site: Site) -> None:
    batch_id, hold = new_id("paused"), asyncio.Event()
    urls = serve_held(site, batch_id, hold, held_requests=1)
    async with site.serving() as first:
        await site.submit(batch_id, urls)
        await asked(site, f"/{batch_id}/2.png", 1)
        pids = first.pause()
        try:
            async with site.serving():
                await site.ended(batch_id)
                before = await site.account.read("results", f"{batch_id}/results.jsonl")
                wake(pids)
                hold.set()
                await site.drained()
                await check_labels(site, batch_id, urls)
                assert await site.account.read("results", f"{batch_id}/results.jsonl") == before
        finally:
            wake(pids)


async def test_two_workers_with_one_message_at_the_same_time_make_one_result(site: Site) -> None:
    batch_id, hold = new_id("twice"), asyncio.Event()
    urls = serve_held(site, batch_id, hold, held_requests=2)
    async with site.serving(FUNCTIONS_WORKER_PROCESS_COUNT="2") as host:
        await eventually_workers(host, 2)
        await site.submit(batch_id, urls)
        await asked(site, f"/{batch_id}/2.png", 1)
        (message,) = (call for call in site.proxy.tape.about(batch_id) if call.is_send and "batch-shards" in call.name)
        await site.account.drop("batch-shards", message.text)
        await asked(site, f"/{batch_id}/2.png", 2)

        hold.set()
        await site.ended(batch_id)
        await site.drained()

        await check_labels(site, batch_id, urls)
        assert "Exception" not in host.output


async def eventually_workers(host: HostProcess, count: int) -> None:
    async def probe() -> bool:
        return len(host.worker_pids) == count

    await eventually(probe)


async def test_a_renewal_that_fails_three_times_costs_at_most_a_second_run(site: Site) -> None:
    """F10. The lease is 3 s, so three failures in a row lose it; the item is held until then."""
    batch_id, hold = new_id("renewed"), asyncio.Event()
    urls = serve_held(site, batch_id, hold, held_requests=1)
    async with site.serving(FUNCTIONS_WORKER_PROCESS_COUNT="2"):
        rule = site.proxy.add(
            proxy.answer(500, "InternalError"), "PUT queue", path="batch-shards/", text=batch_id, times=12
        )
        await site.submit(batch_id, urls)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await rule.met.wait()
        await asked(site, f"/{batch_id}/2.png", 2)
        hold.set()
        await site.ended(batch_id)
        await site.drained()

        await check_labels(site, batch_id, urls)


async def test_storage_that_restarts_in_the_middle_of_a_batch_loses_nothing(site: Site) -> None:
    batch_id, hold = new_id("restart"), asyncio.Event()
    urls = serve_held(site, batch_id, hold, held_requests=1)
    async with site.serving():
        await site.submit(batch_id, urls, mini_batch_size=2)
        await asked(site, f"/{batch_id}/2.png", 1)
        await asyncio.to_thread(site.azurite.stop)
        hold.set()
        await site.proxy.wait_for_calls(10)
        await asyncio.to_thread(site.azurite.start)
        await site.ended(batch_id)
        await site.drained()

        await check_labels(site, batch_id, urls)


async def test_clocks_that_are_two_hours_apart_change_nothing(site: Site, tmp_path: Path) -> None:
    """One host lives an hour ahead, one an hour behind; the batch has back-off, a Retry-After and killed workers."""
    (tmp_path / "sitecustomize.py").write_text(SKEW)
    urls = serve_pool(site.origin)
    for path in ("/busy-a.png", "/busy-b.png"):
        urls.append(site.origin.answer(path, Reply(429, headers={"Retry-After": "1"}), Reply(503), Reply(body=SCAN)))
    batch_id, hold = new_id("skewed"), asyncio.Event()
    urls += serve_held(site, batch_id, hold, held_requests=1)
    skewed = {"PYTHONPATH": str(tmp_path), "INFERENCE_MAX_ATTEMPTS": "5"}
    async with (
        site.serving(TEST_CLOCK_SKEW_SECONDS="3600", **skewed) as ahead,
        site.serving(TEST_CLOCK_SKEW_SECONDS="-3600", **skewed) as behind,
    ):
        await site.submit(batch_id, urls, mini_batch_size=4)
        await asked(site, f"/{batch_id}/2.png", 1)
        for host in (ahead, behind):
            await asyncio.to_thread(host.kill_worker)
        hold.set()
        await site.ended(batch_id)
        await site.drained()

        rows = await check_batch(site, batch_id, urls)
        assert [row["error"]["code"] for row in rows if row["status"] == "failed"] == [
            "image_not_found",
            "image_invalid",
            "url_not_allowed",
        ]
