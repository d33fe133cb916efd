"""What must hold of a batch after every fault, once the queues are empty: read from storage, and from the tape.

The tape tells what no look at the end can: that nothing was published early, and no message deleted too soon.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from inference.batch.concurrency import for_each
from inference.redaction import redact_url
from tests.faults.site import QUEUES, Site
from tests.faults.tape import Call, Tape

ROW_KEYS = {
    "succeeded": ["index", "id", "url", "status", "model", "version", "predictions", "attempts"],
    "failed": ["index", "id", "url", "status", "error", "attempts"],
}
LETTER_KEYS = {
    *("kind", "batch_id", "index", "id", "url", "code", "message", "retryable", "attempts", "first_at", "last_at"),
    *("model", "version", "sha256", "trace_id", "round", "history"),
}

#: What became of each url in a run without faults, byte for byte but for the attempts.
type Calm = Mapping[str, bytes]


async def learn(site: Site, batch_id: str) -> Calm:
    """Return what became of each url of a batch that met no fault."""
    lines = (await _results(site, batch_id)).splitlines()
    return {json.loads(line)["url"]: _outcome(line) for line in lines}


async def check_batch(site: Site, batch_id: str, urls: Sequence[str], calm: Calm | None = None) -> list[dict[str, Any]]:
    """Assert every invariant of a drained batch, and return its rows."""
    await _check_queues(site)
    return await _check(site, batch_id, urls, calm)


async def check_batches(
    site: Site, batches: Mapping[str, Sequence[str]], calm: Calm
) -> dict[str, list[dict[str, Any]]]:
    """Assert every invariant of many drained batches, given with their urls, and return their rows."""
    await _check_queues(site)
    rows: dict[str, list[dict[str, Any]]] = {}

    async def check(batch_id: str) -> None:
        rows[batch_id] = await _check(site, batch_id, batches[batch_id], calm)

    await for_each(batches, check)
    return rows


async def _check_queues(site: Site) -> None:
    for queue in QUEUES:
        assert await site.account.message_count(queue) == 0, queue


async def _check(site: Site, batch_id: str, urls: Sequence[str], calm: Calm | None) -> list[dict[str, Any]]:
    lines = (await _results(site, batch_id)).splitlines()
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    # I1, I2, I3: each item exactly once, in the manifest's order; the same url twice is two rows.
    assert [row["index"] for row in rows] == list(range(len(urls))), batch_id
    assert [row["url"] for row in rows] == [redact_url(url) for url in urls], batch_id
    for row in rows:
        assert list(row) == ROW_KEYS[row["status"]], (batch_id, row)
    if calm is not None:  # I4
        assert [_outcome(line) for line in lines] == [calm[row["url"]] for row in rows], batch_id
    await _check_counts(site, batch_id, rows)
    await _check_letters(site, batch_id, rows)
    await _check_remains(site, batch_id)
    check_order(site.proxy.tape, batch_id)
    return rows


def check_order(tape: Tape, batch_id: str) -> None:
    """Assert what must hold at each moment of a batch, as the tape has it."""
    calls = tape.about(batch_id)
    _check_publication(calls, batch_id)
    _check_shard_messages(calls, batch_id)
    _check_other_messages(calls, batch_id)


def _outcome(line: bytes) -> bytes:
    return re.sub(rb',"attempts":\d+\}$', b"", line)[line.index(b',"status":') :]


async def _results(site: Site, batch_id: str) -> bytes:
    found = await site.account.read("results", f"{batch_id}/results.jsonl")
    assert found is not None, f"{batch_id} has no results"
    return found


async def _check_counts(site: Site, batch_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """I5: what is counted is what a recount gives. I6: the event tells the same."""
    summary = json.loads(await site.account.read("results", f"{batch_id}/summary.json") or b"{}")
    by_status = Counter(row["status"] for row in rows)
    counted = summary["total"], summary["succeeded"], summary["failed"]
    assert counted == (len(rows), by_status["succeeded"], by_status["failed"]), batch_id
    assert summary["errors"] == Counter(row["error"]["code"] for row in rows if row["status"] == "failed"), batch_id
    calls = site.proxy.tape.about(batch_id)
    told = [json.loads(call.text) for call in calls if call.is_send and call.queue == "batch-events"]
    assert told, f"no event of {batch_id}"
    assert {key: told[-1][key] for key in summary} == summary, batch_id


async def _check_letters(site: Site, batch_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """I8: each failed row has exactly one dead letter, which says everything; nothing else has one."""
    letters = await site.letters(batch_id)
    failed = [row for row in rows if row["status"] == "failed"]
    assert [letter["index"] for letter in letters] == [row["index"] for row in failed], batch_id
    for letter, row in zip(letters, failed, strict=True):
        assert letter.keys() == LETTER_KEYS
        assert (letter["code"], letter["message"]) == (row["error"]["code"], row["error"]["message"])
        assert letter["first_at"] <= letter["last_at"]
        assert (len(letter["trace_id"]), len(letter["sha256"])) == (32, 64)


async def _check_remains(site: Site, batch_id: str) -> None:
    """No row is pending in a part, and nothing that was there for the time being is left."""
    for name, data in (await site.blobs("results", f"{batch_id}/parts/")).items():
        assert all(json.loads(line)["status"] != "pending" for line in data.splitlines()), name
    assert not await site.blobs("manifests", f"_data/{batch_id}/suspects/")
    assert await site.account.read("manifests", f"_submitted/{batch_id}.json") is None


def _check_publication(calls: Sequence[Call], batch_id: str) -> None:
    """I6, I14: at each summary all parts were final, then their dead letters written, then results, then the event."""
    summaries = [call for call in calls if _is_write(call, f"results/{batch_id}/summary\\.json")]
    assert summaries, f"no summary of {batch_id} on the tape"
    rounds = [call.metadata["round"] for call in summaries]
    assert len(rounds) == len({*rounds}), f"{batch_id}: a round was published twice"
    for summary in summaries:
        parts = _latest(calls, f"results/{batch_id}/parts/.*", summary)
        assert all(part.metadata["pending"] == "0" for part in parts.values()), f"{batch_id}: published early"
        (results,) = _latest(calls, f"results/{batch_id}/results\\.jsonl", summary).values()
        assert results.number > max(part.number for part in parts.values()), f"{batch_id}: results before a part"
        letters = _latest(calls, f"deadletters/{batch_id}/.*", results)
        for name, part in parts.items():
            if int(part.metadata["dead"]):
                mine = letters[name.replace("results/", "deadletters/").replace("/parts/", "/")]
                assert mine.number > part.number, f"{batch_id}: results before dead letters"
    events = [call.number for call in calls if call.is_send and call.queue == "batch-events"]
    assert min(events) > summaries[0].number, f"{batch_id}: told before the summary"


def _check_shard_messages(calls: Sequence[Call], batch_id: str) -> None:
    """I7: as long as rows of a shard are pending, a message for it lives: copy before delete, always."""
    alive: Counter[int] = Counter()
    pending: dict[int, bool] = {}
    for call in calls:
        if part := _is_write(call, rf"results/{batch_id}/parts/(\d+)\.jsonl"):
            pending[int(part[1])] = call.metadata["pending"] != "0"
        if not call.queue.startswith("batch-shards"):
            continue
        shard = json.loads(call.text)["shard"]
        alive[shard] += call.is_send - call.is_acknowledgement
        if call.is_acknowledgement and pending.get(shard, True):
            what = f"{batch_id}: the last message of shard {shard} was deleted too soon"
            assert alive[shard] > 0, "\n".join([what, *map(_tell, calls)])


def _check_other_messages(calls: Sequence[Call], batch_id: str) -> None:
    """I7: from the manifest's message to the summary, a message that goes on with the batch lives."""
    finishing, manifests, is_over = 0, 0, False
    for call in calls:
        is_over = is_over or bool(_is_write(call, f"results/{batch_id}/summary\\.json"))
        if call.queue.startswith("batch-finish"):
            finishing += call.is_send - call.is_acknowledgement
        elif call.queue == "batch-manifests-poison":
            manifests += call.is_send - call.is_acknowledgement
        if call.is_acknowledgement and call.queue.startswith(("batch-finish", "batch-manifests")):
            assert finishing or manifests or is_over, f"{batch_id}: {call.queue}: deleted too soon"


def _tell(call: Call) -> str:
    """Return a line of what a call did, for whoever has to find out what went wrong."""
    what = f"{call.begun}-{call.number} {call.method} {call.name} {call.status}"
    return " ".join(filter(None, [what, call.metadata.get("pending", ""), call.text]))


def _is_write(call: Call, pattern: str) -> re.Match[str] | None:
    """Match the name of the blob that a call made readable."""
    return re.fullmatch(pattern, call.name) if call.is_whole_write else None


def _latest(calls: Sequence[Call], pattern: str, until: Call) -> dict[str, Call]:
    """Return the last write of each matching blob before a call."""
    return {call.name: call for call in calls if call.number < until.number and _is_write(call, pattern)}
