"""A batch whose own copy of its manifest goes while it runs."""

from __future__ import annotations

import asyncio

import pytest

from tests.faults.invariants import check_batch
from tests.faults.site import SCANS, Site, new_id
from tests.hosting import eventually
from tests.origins import Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCAN = (SCANS / "digit-5-a.png").read_bytes()


async def test_a_manifest_that_is_deleted_under_a_batch_fails_what_was_not_scored_and_the_batch_completes(
    site: Site,
) -> None:
    """One shard is under way, and the other three have not been begun."""
    batch_id, hold = new_id("lost"), asyncio.Event()
    urls = [site.origin.answer(f"/{batch_id}/{i}.png", Reply(body=SCAN, hold=hold)) for i in range(8)]
    one_at_a_time = {
        "AzureFunctionsJobHost__extensions__queues__batchSize": "1",
        "AzureFunctionsJobHost__extensions__queues__newBatchThreshold": "0",
    }
    async with site.serving(**one_at_a_time):
        await site.submit(batch_id, urls, mini_batch_size=2)

        async def is_asked() -> bool:
            return sum(site.origin.hits[f"/{batch_id}/{i}.png"] for i in range(8)) == 2

        await eventually(is_asked)
        asked = [i for i in range(8) if site.origin.hits[f"/{batch_id}/{i}.png"]]
        for name in await site.blobs("manifests", f"_data/{batch_id}/manifest-"):
            await site.account.blobs.get_blob_client("manifests", name).delete_blob()
        hold.set()
        await site.ended(batch_id)
        await site.drained()

        rows = await check_batch(site, batch_id, [url if i in asked else "" for i, url in enumerate(urls)])
    assert [row["index"] for row in rows if row["status"] == "succeeded"] == asked
    assert {row["error"]["code"] for row in rows if row["status"] == "failed"} == {"manifest_not_found"}
    assert await site.buried() == []
