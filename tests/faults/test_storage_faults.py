"""Storage that fails, throttles, forgets to answer or does things twice, at every kind of call: nothing is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.faults import proxy
from tests.faults.invariants import Calm, check_batches, learn
from tests.faults.proxy import Fault, Rule
from tests.faults.site import WIDE, Site, new_id, serve_pool

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: With one url for each of the permanent failures, two shards.
SCANS_A_BATCH = 3

#: Calls of the batch path and of its host, by what they do: the operation, and where its path or text is told by.
CALLS = {
    "read the record": ("GET blob", r"_batch/{id}\.json", ""),
    "create the record": ("PUT blob", r"_batch/{id}\.json", ""),
    "create the canonical manifest": ("PUT blob", r"_data/{id}/manifest-", ""),
    "read the canonical manifest": ("GET blob", r"_data/{id}/manifest-", ""),
    "read the shard table": ("GET blob", r"_data/{id}/shards-", ""),
    "note that all was sent": ("PUT blob", r"_data/{id}/expanded", ""),
    "read a part": ("GET blob", r"{id}/parts/", ""),
    "write a part": ("PUT blob", r"{id}/parts/", ""),
    "list the parts": ("GET blob", r"results\?.*prefix={id}(/|%2F)parts", ""),
    "write the dead letters": ("PUT blob", r"deadletters/{id}/", ""),
    "write the results": ("PUT blob", r"{id}/results\.jsonl", ""),
    "write the summary": ("PUT blob", r"{id}/summary\.json", ""),
    "look at the summary": ("HEAD blob", r"{id}/summary\.json", ""),
    "send a shard": ("POST queue", "batch-shards/", "{id}"),
    "send a finish": ("POST queue", "batch-finish/", "{id}"),
    "send the event": ("POST queue", "batch-events/", "{id}"),
    "delete a manifest": ("DELETE queue", "batch-manifests/", "{id}"),
    "delete a shard": ("DELETE queue", "batch-shards/", "{id}"),
    "delete a finish": ("DELETE queue", "batch-finish/", "{id}"),
}
#: One failure is within the client's own tries; six are beyond them, so that the message is delivered again.
FAULTS: dict[str, dict[str, tuple[Fault, int]]] = {
    "fails or throttles": {
        "500 for a while": (proxy.answer(500, "InternalError"), 6),
        "503 with Retry-After": (proxy.answer(503, "ServerBusy", retry_after=1), 1),
        "503 with a long Retry-After": (proxy.answer(503, "ServerBusy", retry_after=60), 2),
    },
    "refuses": {
        "403": (proxy.answer(403, "AuthenticationFailed"), 2),
        "409": (proxy.answer(409, "LeaseIdMismatchWithLeaseOperation"), 2),
        "412": (proxy.answer(412, "ConditionNotMet"), 1),
    },
    "hangs up or repeats itself": {
        "reset before": (proxy.reset_before, 2),
        "done, but the reply is lost": (proxy.reset_after, 1),
        "done, but the reply is cut": (proxy.truncate, 1),
        "done twice": (proxy.duplicate, 1),
    },
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def calm(site: Site) -> AsyncIterator[Calm]:
    """A host, and what it makes of the urls as long as nothing is broken."""
    async with site.serving(**WIDE):
        batch_id = await site.submit(new_id("calm"), serve_pool(site.origin, SCANS_A_BATCH), mini_batch_size=3)
        await site.ended(batch_id)
        yield await learn(site, batch_id)


@pytest.mark.parametrize("kind", FAULTS)
async def test_storage_that_errs_at_any_call_changes_nothing_in_any_result(site: Site, calm: Calm, kind: str) -> None:
    """One batch for each fault at each call, all at once."""
    urls = serve_pool(site.origin, SCANS_A_BATCH)
    rules: dict[str, Rule] = {}
    for name, (fault, times) in FAULTS[kind].items():
        for what, (operation, path, text) in CALLS.items():
            if name == "412" and operation != "PUT blob":
                continue  # a read answers so only when the blob did change, and a queue never does
            batch_id = new_id(f"{name.rpartition(' ')[2]}-{what}".replace(" ", "-").lower())
            where = {"path": path.format(id=batch_id), "text": text.format(id=batch_id)}
            rules[batch_id] = site.proxy.add(fault, operation, times=times, **where)

    for batch_id in rules:
        await site.submit(batch_id, urls, mini_batch_size=3)
    await site.ended(*rules)
    await site.drained()

    assert [batch_id for batch_id, rule in rules.items() if not rule.hits] == []
    await check_batches(site, dict.fromkeys(rules, urls), calm)
    assert await site.buried() == []
