"""A host that starts while storage is not ready for it."""

from __future__ import annotations

import asyncio

import pytest

from tests.faults import proxy
from tests.faults.invariants import check_batch
from tests.faults.site import Site, new_id, serve_pool
from tests.hosting import DEADLINE_SECONDS, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_queues_that_storage_refuses_to_make_at_the_start_are_made_when_it_lets_them(site: Site) -> None:
    """On a new account nothing else makes the queue that a user's first message goes to."""
    rule = site.proxy.add(
        proxy.answer(403, "AuthorizationFailure"), "PUT queue", path=r"/batch-manifests(\?|$)", times=2
    )
    async with site.serving():
        async with asyncio.timeout(DEADLINE_SECONDS):
            await rule.met.wait()

        async def is_there() -> bool:
            return "batch-manifests" in [queue.name async for queue in site.account.queues.list_queues()]

        await eventually(is_there)
        assert rule.hits == 2
        urls = serve_pool(site.origin)
        batch_id = await site.submit(new_id("first"), urls)
        await site.ended(batch_id)
        await site.drained()

        await check_batch(site, batch_id, urls)
