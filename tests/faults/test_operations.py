"""What users and operators do while things break: submit twice, cancel, replace the model, list, export, replay."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from tests.faults import proxy
from tests.faults.invariants import check_batch
from tests.faults.models import publish_actor
from tests.faults.site import SCANS, Site, new_id, serve_pool
from tests.hosting import DEADLINE_SECONDS, HostProcess, eventually
from tests.origins import Reply
from tests.service.conftest import api

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCAN = (SCANS / "digit-5-a.png").read_bytes()


async def pages(host: HostProcess, query: str) -> list[dict[str, Any]]:
    """Read a listing of dead letters to its end."""
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        status, page = await api(host, "GET", f"deadletters?{query}{after}")
        assert status == 200, page
        found += page["deadletters"]
        if not page.get("next"):
            return found
        after = f"&next={page['next']}"


async def export(host: HostProcess, query: str) -> bytes:
    """Read failed items as a manifest."""
    async with aiohttp.ClientSession() as client, client.get(f"{host.url}/api/deadletters/export?{query}") as reply:
        assert reply.status == 200
        return await reply.read()


async def state(host: HostProcess, batch_id: str) -> str:
    return str((await api(host, "GET", f"batches/{batch_id}"))[1]["state"])


async def test_a_cancel_takes_effect_within_a_second_or_the_items_under_way(site: Site) -> None:
    batch_id, cancelled = new_id("cancelled"), asyncio.Event()
    slowly = Reply(body=SCAN, pause_seconds=0.25, hold=cancelled)
    urls = [site.origin.answer(f"/{batch_id}/{i}.png", slowly) for i in range(40)]
    async with site.serving(INFERENCE_SHARD_CONCURRENCY="2") as host:
        await site.submit(batch_id, urls)
        await eventually(lambda: was_asked(site, f"/{batch_id}/0.png"))
        status, _ = await api(host, "DELETE", f"batches/{batch_id}")
        assert status == 202
        cancelled.set()
        await site.ended(batch_id)
        await site.drained()

        rows = await check_batch(site, batch_id, urls)
        assert await state(host, batch_id) == "cancelled"
    scored = [row["index"] for row in rows if row["status"] == "succeeded"]
    # A look at the stop is good for a second: of 40 items at two in a quarter of one, a dozen at most.
    assert len(scored) < 20
    assert {row["error"]["code"] for row in rows if row["status"] == "failed"} == {"batch_cancelled"}


async def test_the_same_manifest_many_times_is_one_batch_and_another_one_under_its_id_is_refused(site: Site) -> None:
    urls = serve_pool(site.origin)
    batch_id = new_id("same")
    async with site.serving(FUNCTIONS_WORKER_PROCESS_COUNT="2") as host:
        for _ in range(6):
            await site.submit(batch_id, urls, mini_batch_size=3)
        await site.ended(batch_id)
        await site.submit(batch_id, urls[:2])
        status, refused = await api(host, "POST", "batches", json={"batch_id": batch_id, "images": urls[1:]})
        assert (status, refused["code"]) == (409, "batch_conflict")
        await site.drained()

        await check_batch(site, batch_id, urls)
        letters = [letter for letter in await site.buried() if letter["batch_id"] == batch_id]
    assert [letter["code"] for letter in letters] == ["batch_conflict"]
    summaries = [c for c in site.proxy.tape.about(batch_id) if c.is_whole_write and c.name.endswith("summary.json")]
    assert len(summaries) == 1


async def test_a_batch_keeps_the_model_that_it_began_with_when_a_newer_one_is_published(site: Site) -> None:
    batch_id, hold = new_id("pinned"), asyncio.Event()
    urls = site.texts(batch_id, 6)
    site.origin.answer(f"/{batch_id}/0", Reply(body=b"say 0", hold=hold))
    settings = {"INFERENCE_MODEL_POLL_SECONDS": "0.1", "INFERENCE_DEFAULT_MODEL": "actor"}
    async with site.serving(**settings) as host:
        await site.submit(batch_id, urls, mini_batch_size=2)
        await eventually(lambda: was_asked(site, f"/{batch_id}/0"))
        publish_actor(site.models, "2", 'def init():\n    pass\n\n\ndef run(data):\n    return [{"label": "new"}]\n')
        later_id = new_id("later")
        later = site.texts(later_id, 2)

        async def is_served() -> bool:
            return str((await api(host, "GET", "models/actor"))[1]).count("'2'") > 0

        await eventually(is_served)
        await asyncio.to_thread(host.kill_worker)  # the next process has never met version 1 as the one that serves
        hold.set()
        await site.submit(later_id, later)
        await site.ended(batch_id, later_id)
        await site.drained()

        rows, newer = await check_batch(site, batch_id, urls), await check_batch(site, later_id, later)
    assert {(row["version"], row["predictions"][0]["label"] == "new") for row in rows} == {("1", False)}
    assert {(row["version"], row["predictions"][0]["label"] == "new") for row in newer} == {("2", True)}


async def was_asked(site: Site, path: str) -> bool:
    return site.origin.hits[path] > 0


async def test_more_than_5000_dead_letters_are_listed_exported_and_purged_page_by_page(site: Site) -> None:
    count = 5_200
    urls = [f"https://169.254.169.254/{i}.png" for i in range(count)]
    batch_id, path = new_id("refused"), f"{new_id('manifest')}.txt"
    manifests = site.account.blobs.get_container_client("manifests")
    async with site.serving() as host:
        await manifests.upload_blob(path, "\n".join(urls).encode())
        message = {"batch_id": batch_id, "manifest": path, "mini_batch_size": 400}
        await site.account.drop("batch-manifests", json.dumps(message))
        await site.ended(batch_id)
        await site.drained()
        await check_batch(site, batch_id, urls)

        listed = await pages(host, f"batch_id={batch_id}")
        assert [letter["index"] for letter in listed] == list(range(count))
        assert len(await pages(host, f"batch_id={batch_id}&code=image_not_found")) == 0
        exported = await export(host, f"batch_id={batch_id}")
        assert [json.loads(line)["url"] for line in exported.splitlines()] == urls
        status, dry = await api(host, "POST", "deadletters/replay", json={"batch_id": batch_id, "dry_run": True})
        assert (status, dry["replayed"]) == (202, count)
        status, purged = await api(host, "POST", "deadletters/purge", json={"batch_id": batch_id, "limit": 5_100})
        assert (status, purged["purged"]) == (200, 5_100)
        assert [letter["index"] for letter in await pages(host, f"batch_id={batch_id}")] == list(range(5_100, count))


async def test_a_replay_that_was_lost_half_way_is_carried_on_and_done_once(site: Site) -> None:
    """The process dies with some shards re-opened and others not; repeating the call takes nothing twice."""
    batch_id = new_id("replayed")
    urls = [site.origin.answer(f"/{batch_id}/{i}.png", Reply(404)) for i in range(12)]
    urls[3] = site.origin.serve(f"/{batch_id}/3.png", SCAN)
    async with site.serving() as host:
        await site.submit(batch_id, urls, mini_batch_size=3)
        await site.ended(batch_id)
        await site.drained()
        for i in range(11):  # the last one stays broken
            site.origin.serve(f"/{batch_id}/{i}.png", SCAN)
        site.origin.hits.clear()

        release = asyncio.Event()
        held = site.proxy.add(proxy.hold(release), "PUT blob", path=f"{batch_id}/parts/00002")
        _, replayed = await api(host, "POST", "deadletters/replay", json={"batch_id": batch_id})
        assert replayed["replayed"] == 11
        async with asyncio.timeout(DEADLINE_SECONDS):
            await held.met.wait()
        _, again = await api(host, "POST", "deadletters/replay", json={"batch_id": batch_id})
        assert again["replayed"] == 0
        await asyncio.to_thread(host.kill)
        release.set()
        await asyncio.to_thread(host.start)

        async def is_replayed() -> bool:
            found = await site.account.read("results", f"{batch_id}/summary.json")
            return found is not None and json.loads(found)["round"] == 1

        await eventually(is_replayed)
        await site.drained()

        rows = await check_batch(site, batch_id, urls)
        assert [row["index"] for row in rows if row["status"] == "failed"] == [11]
        assert site.origin.hits[f"/{batch_id}/3.png"] == 0  # it had succeeded
        assert [len(letter["history"]) for letter in await site.letters(batch_id)] == [1]


async def test_a_replay_while_the_batch_runs_takes_what_has_failed_by_then_and_the_batch_ends_once_more(
    site: Site,
) -> None:
    batch_id, hold = new_id("running"), asyncio.Event()
    urls = [site.origin.answer(f"/{batch_id}/{i}.png", Reply(404)) for i in range(4)]
    urls += [site.origin.answer(f"/{batch_id}/{i}.png", Reply(body=SCAN, hold=hold)) for i in range(4, 6)]
    async with site.serving() as host:
        await site.submit(batch_id, urls, mini_batch_size=2)

        async def four_failed() -> bool:
            return len(await site.letters(batch_id)) == 4

        await eventually(four_failed)
        for i in range(3):
            site.origin.serve(f"/{batch_id}/{i}.png", SCAN)
        _, replayed = await api(host, "POST", "deadletters/replay", json={"batch_id": batch_id})
        assert replayed["replayed"] == 4
        assert await state(host, batch_id) == "running"
        hold.set()

        async def is_replayed() -> bool:
            found = await site.account.read("results", f"{batch_id}/summary.json")
            return found is not None and json.loads(found)["round"] == 1

        await eventually(is_replayed)
        await site.drained()

        rows = await check_batch(site, batch_id, urls)
    assert [row["index"] for row in rows if row["status"] == "failed"] == [3]
