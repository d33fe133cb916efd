"""Workers and hosts that are killed at the worst moments: what they had not written is done again, and only that."""

from __future__ import annotations

import asyncio

import pytest

from tests.faults import proxy
from tests.faults.invariants import check_batch, check_batches, learn
from tests.faults.site import SCANS, WIDE, Site, new_id, serve_pool
from tests.hosting import DEADLINE_SECONDS, eventually
from tests.origins import Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Moments to die at: the call that is held, and whether Azurite has carried it out by then.
MOMENTS = {
    "before the first item": ("GET blob", r"_data/{id}/manifest-", "", False),
    "before the part is written": ("PUT blob", r"{id}/parts/00001", "", False),
    "after the part is written": ("PUT blob", r"{id}/parts/00001", "", True),
    "before the dead letters are written": ("PUT blob", r"deadletters/{id}/00001", "", False),
    "between two shards' messages": ("POST queue", "batch-shards/", '{id}.*"shard":1,', True),
    "between results and summary": ("PUT blob", r"{id}/summary\.json", "", False),
    "between summary and event": ("PUT blob", r"{id}/summary\.json", "", True),
    "before the finish message is deleted": ("DELETE queue", "batch-finish/", "{id}", False),
}


@pytest.mark.parametrize("victim", ["worker", "container"])
async def test_a_death_at_any_moment_changes_nothing_in_any_result(site: Site, victim: str) -> None:
    """One batch is held at each moment, and then one death meets them all."""
    urls = serve_pool(site.origin)
    async with site.serving(**WIDE) as host:
        calm_id = await site.submit(new_id("calm"), urls, mini_batch_size=4)
        await site.ended(calm_id)
        release, held = asyncio.Event(), {}
        for moment, (operation, path, text, is_done_first) in MOMENTS.items():
            batch_id = new_id(moment.replace(" ", "-").replace("'", ""))
            where = {"path": path.format(id=batch_id), "text": text.replace("{id}", batch_id)}
            fault = proxy.hold(release, is_done_first=is_done_first)
            held[batch_id] = site.proxy.add(fault, operation, **where)

        for batch_id in held:
            await site.submit(batch_id, urls, mini_batch_size=4)
        async with asyncio.timeout(DEADLINE_SECONDS):
            for rule in held.values():
                await rule.met.wait()
        await asyncio.to_thread(host.kill_worker if victim == "worker" else host.kill)
        release.set()
        if victim == "container":
            await asyncio.to_thread(host.start)
        await site.ended(*held)
        await site.drained()

        calm = await learn(site, calm_id)
        await check_batches(site, dict.fromkeys(held, urls), calm)


async def test_rows_that_were_written_are_not_scored_again_after_a_kill_before_the_message_is_deleted(
    site: Site,
) -> None:
    urls = serve_pool(site.origin)
    async with site.serving() as host:
        batch_id, release = new_id("done"), asyncio.Event()
        held = site.proxy.add(proxy.hold(release), "DELETE queue", path="batch-shards/", text=batch_id)
        site.origin.hits.clear()
        await site.submit(batch_id, urls)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await held.met.wait()
        part = site.account.blobs.get_blob_client("results", f"{batch_id}/parts/00000.jsonl")
        before = (await part.get_blob_properties()).etag

        await asyncio.to_thread(host.kill)
        site.proxy.heal()
        await asyncio.to_thread(host.start)
        await site.ended(batch_id)
        release.set()
        await site.drained()

        await check_batch(site, batch_id, urls)
        assert (await part.get_blob_properties()).etag == before
        assert set(site.origin.hits.values()) == {1}


async def test_only_the_items_that_a_killed_worker_had_not_written_are_scored_again(site: Site) -> None:
    """Each item is a shard: what the host had under way is done again, the rest is not (I15)."""
    scan = (SCANS / "digit-5-a.png").read_bytes()
    urls = [site.origin.serve(f"/own/{i}.png", scan) for i in range(8)]
    hold = asyncio.Event()
    urls.append(site.origin.answer("/own/held.png", Reply(body=scan, hold=hold), Reply(body=scan)))
    async with site.serving() as host:
        site.origin.hits.clear()
        batch_id = await site.submit(new_id("own"), urls, mini_batch_size=1)

        async def rest_is_written() -> bool:
            return len(await site.blobs("results", f"{batch_id}/parts/")) == 8

        await eventually(rest_is_written)
        await asyncio.to_thread(host.kill_worker)
        hold.set()
        await site.ended(batch_id)
        await site.drained()

        await check_batch(site, batch_id, urls)
        assert [site.origin.hits[f"/own/{i}.png"] for i in range(8)] == [1] * 8
        assert site.origin.hits["/own/held.png"] == 2


async def test_a_host_killed_between_poison_copy_and_deletion_makes_one_batch_of_the_two_copies(site: Site) -> None:
    urls = serve_pool(site.origin)
    release = asyncio.Event()
    at_once = {"AzureFunctionsJobHost__extensions__queues__visibilityTimeout": "00:00:00"}
    async with site.serving(**at_once) as host:
        batch_id = new_id("poisoned")
        site.proxy.add(proxy.answer(403, "AuthenticationFailed"), "GET blob", path=f"_batch/{batch_id}", times=None)
        held = site.proxy.add(proxy.hold(release), "DELETE queue", path="batch-manifests/", text=batch_id)
        await site.submit(batch_id, urls)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await held.met.wait()

        await asyncio.to_thread(host.kill)
        site.proxy.heal()
        await asyncio.to_thread(host.start)
        await site.ended(batch_id)
        await site.drained()
        release.set()

        copies = [call for call in site.proxy.tape.about(batch_id) if call.is_send and "manifests-poison" in call.name]
        assert len(copies) == 2
        await check_batch(site, batch_id, urls)
        assert await site.buried() == []
