"""The batch path on the running service: any Storage client's manifest, its results, its dead letters, its replay."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.hosting import DEADLINE_SECONDS, HostProcess, eventually
from tests.origins import Origin, Reply
from tests.service.account import Account
from tests.service.conftest import SCANS, api, serve_scans, serving

#: Fields of a row that may differ between two runs of the same manifest.
VOLATILE = {"attempts"}


def labels(rows: list[dict[str, Any]]) -> list[str | None]:
    return [row["predictions"][0]["label"] if row["status"] == "succeeded" else None for row in rows]


async def test_every_queue_and_container_is_there_before_anything_is_sent(
    azurite: str, account: Account, origin: Origin
) -> None:
    expected = {
        *("batch-manifests", "batch-shards", "batch-finish", "batch-events"),
        *("batch-manifests-poison", "batch-shards-poison", "batch-finish-poison"),
        *("manifests", "results", "deadletters", "models"),
    }

    async def are_there() -> bool:
        queues = {queue.name async for queue in account.queues.list_queues()}
        return expected <= queues | {container.name async for container in account.blobs.list_containers()}

    with serving(azurite, origin):
        await eventually(are_there)


async def test_a_dropped_manifest_becomes_rows_a_summary_an_event_and_dead_letters(
    azurite: str, account: Account, origin: Origin
) -> None:
    urls = serve_scans(origin)
    flaky = origin.answer("/flaky.png", Reply(503), Reply(body=(SCANS / "digit-1-a.png").read_bytes()))
    images: list[Any] = [
        *urls,
        {"id": "missing", "url": origin.url("/missing.png?sig=secret")},
        {"id": "text", "url": origin.serve("/text.png", b"text")},
        {"id": "flaky", "url": flaky},
        {"id": "dead", "url": origin.answer("/dead.png", Reply(500))},
        {"id": "refused", "url": "https://169.254.169.254/a.png"},
        urls[0],
    ]
    batch_id = f"rows-{uuid.uuid4().hex[:8]}"
    with serving(azurite, origin) as host:
        manifest = {"batch_id": batch_id, "images": images, "mini_batch_size": 4, "max_retries": 1}
        await account.drop("batch-manifests", json.dumps(manifest))
        summary = await account.summary(batch_id)
        rows = await account.rows(batch_id)

        # Every item has one row, in manifest order; permanent causes took one attempt, passing ones were tried again.
        assert [row["index"] for row in rows] == list(range(len(images)))
        expected = [scan.name.split("-")[1] for scan in sorted(SCANS.iterdir())]
        assert labels(rows) == [*expected, None, None, "1", None, None, expected[0]]
        outcomes = {row["id"]: (row.get("error", {}).get("code"), row["attempts"]) for row in rows[20:25]}
        assert outcomes == {
            "missing": ("image_not_found", 1),
            "text": ("image_invalid", 1),
            "flaky": (None, 2),
            "dead": ("origin_unavailable", 2),
            "refused": ("url_not_allowed", 1),
        }
        assert rows[20].keys() == {"index", "id", "url", "status", "error", "attempts"} | (
            rows[20].keys() & {"model", "version"}
        )
        assert rows[20]["error"].keys() == {"code", "message", "retryable"}
        assert rows[0].keys() == {"index", "id", "url", "status", "model", "version", "predictions", "attempts"}
        assert (summary["state"], summary["total"], summary["succeeded"], summary["failed"]) == ("succeeded", 26, 22, 4)

        # No secret of a url leaves the manifest.
        for container in ("results", "deadletters"):
            async for blob in account.blobs.get_container_client(container).list_blobs(name_starts_with=batch_id):
                assert b"secret" not in (await account.read(container, blob.name) or b""), blob.name
        assert "secret" not in host.output

        status, told = await api(host, "GET", f"batches/{batch_id}")
        assert (status, told["state"], told["failed"], told["pending"]) == (200, "succeeded", 4, 0)
        assert told["errors"] == {
            "image_invalid": 1,
            "image_not_found": 1,
            "origin_unavailable": 1,
            "url_not_allowed": 1,
        }
        _, letters = await api(host, "GET", f"deadletters?batch_id={batch_id}")
        assert [letter["id"] for letter in letters["deadletters"]] == ["missing", "text", "dead", "refused"]

        # The cause of one is gone: only its row is opened again, the others keep their bytes.
        before = {row["id"]: row for row in rows}
        origin.serve("/missing.png", (SCANS / "digit-2-a.png").read_bytes())
        _, dry = await api(host, "POST", "deadletters/replay", json={"batch_id": batch_id, "dry_run": True})
        assert (dry["replayed"], dry["dry_run"]) == (4, True)
        selection = {"batch_id": batch_id, "code": "image_not_found"}
        status, reply = await api(host, "POST", "deadletters/replay", json=selection)
        assert (status, reply["replayed"]) == (202, 1)

        async def healed() -> bool:
            _, told = await api(host, "GET", f"batches/{batch_id}")
            return bool(told["state"] == "succeeded" and told["failed"] == 3)

        await eventually(healed)
        after = {row["id"]: row for row in await account.rows(batch_id)}
        assert after.pop("missing")["predictions"][0]["label"] == "2"
        before.pop("missing")
        assert after == before
        _, again = await api(host, "POST", "deadletters/replay", json=selection)
        assert again["replayed"] == 0

    events = account.queues.get_queue_client("batch-events")
    bodies = [json.loads(base64.b64decode(message.content)) async for message in events.receive_messages()]
    assert {(body["batch_id"], body["state"]) for body in bodies} >= {(batch_id, "succeeded")}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "invalid_manifest"),
        ({"images": []}, "invalid_manifest"),
        ({"images": ["https://host/a"], "surprise": 1}, "invalid_manifest"),
        ({"manifest": "nowhere.jsonl"}, "manifest_not_found"),
        ({"images": ["https://host/a"], "model": "nobody"}, "model_not_found"),
    ],
)
async def test_a_manifest_that_cannot_become_a_batch_is_a_dead_letter_at_once_and_the_queue_drains(
    batches: HostProcess, account: Account, fields: dict[str, Any], code: str
) -> None:
    batch_id = f"bad-{uuid.uuid4().hex[:8]}"
    await account.drop("batch-manifests", json.dumps({**fields, "batch_id": batch_id}))

    letter = await buried(batches, lambda letter: letter.get("batch_id") == batch_id)

    assert letter["code"] == code
    assert letter["message"].strip()
    await drained(account, "batch-manifests")


async def test_parameters_that_mean_nothing_to_the_model_are_refused_when_they_are_submitted(
    azurite: str, origin: Origin
) -> None:
    body = {"images": ["https://images.example/a.png"], "parameters": {"iou_threshold": 0.5}}
    with serving(azurite, origin) as host:
        status, reply = await api(host, "POST", "batches", json=body)

    assert (status, reply["code"]) == (400, "invalid_manifest")
    assert reply["error"] == "iou_threshold has no meaning for a classification model."


async def test_a_purge_whose_body_comes_in_chunks_forgets_nothing(azurite: str, origin: Origin) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"batch_id": "b", "dry_run": true}'

    with serving(azurite, origin) as host:
        status, reply = await api(host, "POST", "deadletters/purge", data=chunks())

    assert (status, reply["code"]) == (400, "invalid_request")


async def test_a_message_that_is_not_json_is_a_dead_letter_at_once_and_the_queue_drains(
    batches: HostProcess, account: Account
) -> None:
    await account.drop("batch-manifests", "not json")

    letter = await buried(batches, lambda letter: "not JSON" in letter["message"])

    assert letter["code"] == "invalid_manifest"
    await drained(account, "batch-manifests")


async def buried(host: HostProcess, is_meant: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait for a dead letter."""

    async def probe() -> dict[str, Any] | None:
        _, letters = await api(host, "GET", "deadletters")
        return next(filter(is_meant, letters["deadletters"]), None)

    found = await eventually(probe)
    assert found is not None
    return found


async def drained(account: Account, queue: str) -> None:
    """Wait until a queue is empty, and see that nothing of it was poison."""

    async def is_empty() -> bool:
        return await account.message_count(queue) == 0

    await eventually(is_empty)
    assert await account.message_count(f"{queue}-poison") == 0


async def test_a_worker_killed_in_the_middle_of_a_shard_changes_nothing_in_the_result(
    azurite: str, account: Account, origin: Origin
) -> None:
    """Without the part as checkpoint, or with a message deleted before its part is written, rows would be missing."""
    urls = serve_scans(origin)
    undisturbed, disturbed = (f"{name}-{uuid.uuid4().hex[:8]}" for name in ("calm", "killed"))
    with serving(azurite, origin) as host:
        await account.drop(
            "batch-manifests", json.dumps({"batch_id": undisturbed, "images": urls, "mini_batch_size": 5})
        )
        await account.summary(undisturbed)

        hold = asyncio.Event()
        scan = (SCANS / "digit-5-a.png").read_bytes()
        origin.answer("/digit-5-a.png", Reply(body=scan, hold=hold), Reply(body=scan))
        origin.hits.clear()
        await account.drop("batch-manifests", json.dumps({"batch_id": disturbed, "images": urls, "mini_batch_size": 5}))
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not origin.hits["/digit-5-a.png"]:
                origin.asked.clear()
                await origin.asked.wait()
        host.kill_worker(signal.SIGKILL)
        hold.set()
        await account.summary(disturbed)

        calm, after = await account.rows(undisturbed), await account.rows(disturbed)
        assert len(after) == len(urls)
        assert [_stable(row) for row in after] == [_stable(row) for row in calm]
        assert origin.hits["/digit-5-a.png"] >= 2
        for queue in ("batch-manifests", "batch-shards", "batch-finish"):
            await drained(account, queue)


def _stable(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in VOLATILE}
