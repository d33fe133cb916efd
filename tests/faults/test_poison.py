"""Messages that nobody can carry out: each is a dead letter with a reason, and no queue stands still for it."""

from __future__ import annotations

import base64
import json

import pytest

from inference.batch import layout
from tests.faults.invariants import check_batch
from tests.faults.site import QUEUES, Site, new_id, serve_pool

pytestmark = pytest.mark.asyncio(loop_scope="module")

LARGEST_BYTES = 48 * 1024

#: What a message may be, as it stands in the queue.
GARBAGE = {
    "not base64": "this is no base64!",
    "empty": "",
    "not JSON": base64.b64encode(b"not JSON").decode(),
    "binary": base64.b64encode(bytes(range(256))).decode(),
    "48 KB of garbage": base64.b64encode(b"\xfe\xed" * (LARGEST_BYTES // 2)).decode(),
    "a byte order mark": base64.b64encode(b'\xef\xbb\xbf{"v": 1}').decode(),
    "JSON of somebody else": base64.b64encode(b'{"hello": "world", "batch_id": "../../x"}').decode(),
    "a list": base64.b64encode(b"[1, 2, 3]").decode(),
    "another version": base64.b64encode(b'{"v": 2, "batch_id": "later", "shard": 0}').decode(),
    "a batch that is not there": base64.b64encode(
        b'{"v": 1, "batch_id": "nobody", "shard": 0, "offset": 0, "bytes": 1, "first": 0, "count": 1}'
    ).decode(),
    "deep nesting": base64.b64encode(b'{"images": ' + b"[" * 20_000 + b"]" * 20_000 + b"}").decode(),
}


async def test_garbage_on_any_queue_is_buried_with_a_reason_and_the_queue_drains(site: Site) -> None:
    urls = serve_pool(site.origin)
    async with site.serving() as host:
        for queue in QUEUES:
            client = site.account.queues.get_queue_client(queue)
            for text in GARBAGE.values():
                await client.send_message(text, time_to_live=-1)
        batch_id = await site.submit(new_id("beside"), urls)
        await site.ended(batch_id)
        await site.drained()

        await check_batch(site, batch_id, urls)
        letters = await site.buried()
        # The same text in a queue and in its poison queue lies in the same grave.
        assert len(letters) == len(GARBAGE) * len(layout.WORK_QUEUES)
        for letter in letters:
            assert letter["code"] in {"invalid_message", "invalid_manifest", "batch_not_found"}, letter
            assert letter["message"].strip()
            assert not letter["is_replayable"]
        assert "nobody" in json.dumps(letters)
        assert host.worker_pids
