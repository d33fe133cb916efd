"""Hundreds of small batches under a random schedule of faults, then peace, and an account of every item (Jepsen's).

`FAULTS_SEED=N` repeats a schedule, as far as processes repeat themselves.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Mapping

import pytest

from tests.faults.invariants import check_batches, learn
from tests.faults.nemesis import Nemesis
from tests.faults.site import DRAIN_SECONDS, SCANS, WIDE, Site, new_id, serve_pool
from tests.hosting import eventually
from tests.origins import Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

BATCHES = 200
#: Batches that have not ended, as long as there are more to submit.
UNDER_WAY = 20
#: Batches submitted between two strokes: when all goes slowly, so does the one who breaks things.
BETWEEN_STROKES = (0, 3)
FLAKY_SCAN = "digit-0-a.png"


def draw_urls(site: Site, rng: random.Random, batch_id: str, pool: list[str]) -> list[str]:
    """Draw the urls of a batch, some of them more than once, and one whose origin fails at first."""
    scan = (SCANS / FLAKY_SCAN).read_bytes()
    flaky = site.origin.answer(f"/flaky/{batch_id}/{FLAKY_SCAN}", Reply(rng.choice([500, 503, 429])), Reply(body=scan))
    return [flaky, *rng.choices(pool, k=rng.randint(3, 10))]


async def submit(site: Site, rng: random.Random, pool: list[str], batches: dict[str, list[str]]) -> None:
    """Submit them one after the other, so that a limited number is under way, and note the urls of each."""
    under_way: set[str] = set()

    async def has_room() -> bool:
        under_way.difference_update([batch_id for batch_id in under_way if site.has_ended(batch_id)])
        return len(under_way) < UNDER_WAY

    for number in range(BATCHES):
        await eventually(has_room, DRAIN_SECONDS)
        batch_id = new_id(f"batch{number}")
        batches[batch_id] = urls = draw_urls(site, rng, batch_id, pool)
        size = rng.randint(2, 8)
        for _ in range(rng.choice([1, 1, 1, 2])):  # users send things twice
            await site.submit(batch_id, urls, mini_batch_size=size)
        under_way.add(batch_id)


async def progress(submitting: asyncio.Task[None], batches: Mapping[str, object], count: int) -> None:
    """Wait until so many more batches are submitted, or all are."""
    wanted = len(batches) + count

    async def probe() -> bool:
        return submitting.done() or len(batches) >= wanted

    await eventually(probe, DRAIN_SECONDS)


async def test_no_item_of_200_batches_is_lost_duplicated_or_made_up_under_random_faults(site: Site) -> None:
    seed = int(os.environ.get("FAULTS_SEED") or random.SystemRandom().randrange(2**32))
    print(f"FAULTS_SEED={seed}")
    rng = random.Random(seed)
    pool = serve_pool(site.origin)
    async with site.serving(**WIDE):
        calm_id = await site.submit(new_id("calm"), pool)
        await site.ended(calm_id)
        calm = dict(await learn(site, calm_id))

    batches: dict[str, list[str]] = {}
    async with Nemesis(site, rng) as nemesis:
        submitting = asyncio.create_task(submit(site, rng, pool, batches))
        while not submitting.done():
            await progress(submitting, batches, rng.randint(*BETWEEN_STROKES))
            await nemesis.strike()
        await submitting
        calm |= {urls[0]: calm[site.origin.url(f"/{FLAKY_SCAN}")] for urls in batches.values()}
        site.proxy.heal()
        await site.ended(*batches)
        await site.drained()
        print(f"{sum(nemesis.done.values())} faults: {dict(nemesis.done)}")

        rows = await check_batches(site, batches, calm)

    sent = Counter((batch_id, i, url) for batch_id, urls in batches.items() for i, url in enumerate(urls))
    got = Counter((batch_id, row["index"], row["url"]) for batch_id, found in rows.items() for row in found)
    assert {"lost": sent - got, "unexpected or duplicated": got - sent} == {
        "lost": Counter(),
        "unexpected or duplicated": Counter(),
    }
    assert len(batches) == BATCHES
    assert await site.buried() == []
