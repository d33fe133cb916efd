"""A manifest's way to its results, over the in-memory storage and a simulated host."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from inference.batch import layout
from inference.batch.layout import QueueName
from inference.batch.selection import DeadLetterFilter
from inference.errors import BatchConflict, ImageNotFound, OriginThrottled, OriginUnavailable, StorageUnavailable
from inference.storage import PreconditionFailed
from tests.fakes import Call
from tests.flows.invariants import check_invariants
from tests.flows.simulation import ACCOUNT_URL, Script, ScriptedScorer, Simulation, images, manifest, with_settings


async def test_a_manifest_becomes_rows_in_its_order() -> None:
    sim = Simulation()
    urls = images(7)

    await sim.run(manifest("first", [{"id": "a", "url": urls[0]}, *urls[1:]]))

    rows = check_invariants(sim, "first", urls)
    assert [row["id"] for row in rows] == ["a", "1", "2", "3", "4", "5", "6"]
    assert rows[0] == {
        "index": 0,
        "id": "a",
        "url": "https://images.example/0.jpg",
        "status": "succeeded",
        "model": "digits",
        "version": "1",
        "predictions": [{"label": "0.jpg", "score": 0.5}],
        "attempts": 1,
    }
    assert sim.summary("first")["state"] == "succeeded"
    assert sim.scorer.attempts.total() == 7
    assert len(sim.events()) == 1


async def test_permanent_causes_fail_at_once_and_passing_ones_are_tried_again_alone() -> None:
    urls = images(4)
    script: Script = {
        urls[0]: [ImageNotFound()],
        urls[1]: [OriginUnavailable(), OriginUnavailable()],
        urls[2]: [OriginUnavailable()] * 3,
    }
    sim = Simulation(ScriptedScorer(script))

    await sim.run(manifest("mixed", urls))

    rows = check_invariants(sim, "mixed", urls)
    assert [(row["status"], row["attempts"]) for row in rows] == [
        ("failed", 1),
        ("succeeded", 3),
        ("failed", 3),
        ("succeeded", 1),
    ]
    assert rows[0]["error"] == {
        "code": "image_not_found",
        "message": "The image's origin says that there is no such image.",
        "retryable": False,
    }
    assert [sim.scorer.attempts[url] for url in urls] == [1, 3, 3, 1]
    assert sim.summary("mixed")["errors"] == {"image_not_found": 1, "origin_unavailable": 1}


async def test_retry_after_is_waited_for_while_neighbours_come_back_sooner() -> None:
    urls = images(2)
    script: Script = {urls[0]: [OriginThrottled(retry_after_seconds=120)], urls[1]: [OriginUnavailable()]}
    sim = Simulation(ScriptedScorer(script))
    tried_at: dict[str, list[float]] = {url: [] for url in urls}
    sim.scorer.before = lambda url: tried_at[url].append(sim.storage.clock.monotonic())

    await sim.run(manifest("patient", urls))

    check_invariants(sim, "patient", urls)
    throttled, flaky = (times[1] - times[0] for times in (tried_at[urls[0]], tried_at[urls[1]]))
    assert throttled >= 120
    assert flaky == 1  # half of the two seconds' base, by this test's jitter


async def test_urls_that_no_fetcher_takes_are_failed_rows_not_broken_manifests() -> None:
    urls = ["ftp://images.example/a.jpg", "images/b.jpg", "https://images.example/" + "x" * 2048]
    sim = Simulation()

    await sim.run(manifest("odd", urls))

    rows = check_invariants(sim, "odd", urls)
    assert [row["error"]["code"] for row in rows] == ["url_not_allowed"] * 3
    assert not sim.scorer.attempts


async def test_secrets_of_urls_stand_in_the_manifest_only() -> None:
    urls = images(4, secret=True)
    sim = Simulation(ScriptedScorer({urls[1]: [ImageNotFound()], urls[2]: [OriginUnavailable()] * 9}))

    await sim.run(manifest("secretive", urls))

    check_invariants(sim, "secretive", urls)
    for container in ("results", "deadletters"):
        for name, data in sim.storage.blobs(container).contents.items():
            assert b"canary" not in data, name
    assert b"canary" not in b"".join(sim.queue(QueueName.EVENTS).bodies)


async def test_a_failure_of_ours_is_never_charged_to_the_item() -> None:
    urls = images(2)
    sim = Simulation(ScriptedScorer({urls[0]: [StorageUnavailable()] * 12}))

    await sim.run(manifest("ours", urls))

    rows = check_invariants(sim, "ours", urls)
    assert [(row["status"], row["attempts"]) for row in rows] == [("succeeded", 1), ("succeeded", 1)]


async def test_a_defect_in_scoring_fails_the_item_after_its_attempts() -> None:
    urls = images(2)
    sim = Simulation(ScriptedScorer({urls[0]: [KeyError("canary-secret")] * 9}))

    await sim.run(manifest("defect", urls))

    rows = check_invariants(sim, "defect", urls)
    assert rows[0]["error"]["code"] == "internal_error"
    assert rows[0]["attempts"] == 3
    assert "canary" not in rows[0]["error"]["message"]


async def test_the_same_manifest_twice_is_one_batch() -> None:
    urls = images(3)
    sim = Simulation()
    await sim.run(manifest("twice", urls))
    before = dict(sim.storage.blobs("results").contents)
    attempts = sim.scorer.attempts.total()

    await sim.run(manifest("twice", [{"url": url} for url in urls]))

    assert dict(sim.storage.blobs("results").contents) == before
    assert sim.scorer.attempts.total() == attempts
    assert not sim.buried()
    assert len(sim.events()) == 1


async def test_the_same_id_with_other_content_is_a_conflict_that_names_both_digests() -> None:
    sim = Simulation()
    await sim.run(manifest("taken", images(3)))

    await sim.run(manifest("taken", images(4)))

    (letter,) = sim.buried()
    assert letter["code"] == "batch_conflict"
    assert letter["message"].count("…") == 2
    check_invariants(sim, "taken", images(3))


async def test_a_byte_order_mark_before_a_manifest_is_passed_over() -> None:
    sim = Simulation()

    await sim.run(b"\xef\xbb\xbf" + orjson.dumps(manifest("b", images(3))))

    check_invariants(sim, "b", images(3))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_manifest"),
        (b"{}", "invalid_manifest"),
        (b"\xff\xfe\x00", "invalid_manifest"),
        (b"\xef\xbb\xbf{}", "invalid_manifest"),
        (b"[" * 40_000, "invalid_manifest"),
        (b'{"images": []}', "invalid_manifest"),
        (b'{"images": ["https://a.example/1"], "v": 9}', "invalid_manifest"),
        (b'{"images": ["https://a.example/1"], "colour": 1}', "invalid_manifest"),
        (b'{"images": ["https://a.example/1"], "images": ["https://a.example/2"]}', "invalid_manifest"),
        (b'{"images": ["https://a.example/1"], "parameters": {"x": NaN}}', "invalid_manifest"),
        (b'{"images": ["https://a.example/1"], "batch_id": "../x"}', "invalid_manifest"),
        (b'{"images": [{"id": "no url"}]}', "invalid_manifest"),
        (b'{"manifest": "_batch/x.json"}', "invalid_manifest"),
        (b'{"manifest": "https://other.example/c/x"}', "invalid_manifest"),
        (
            b'{"manifest": "https://account.blob.core.windows.net/./azure-webjobs-secrets/host.json"}',
            "invalid_manifest",
        ),
        (b'{"manifest": "https://account.blob.core.windows.net/./manifests/_batch/x.json"}', "invalid_manifest"),
        (b'{"manifest": "https://account.blob.core.windows.net/My_Photos/x.jsonl"}', "invalid_manifest"),
        (b'{"manifest": "not/there.jsonl"}', "manifest_not_found"),
        (b'{"images": ["https://a.example/1"], "model": "unheard-of"}', "model_not_found"),
    ],
)
async def test_a_manifest_that_cannot_be_a_batch_is_a_dead_letter_at_its_first_delivery(body: bytes, code: str) -> None:
    sim = Simulation()

    await sim.run(body)

    (letter,) = sim.buried()
    assert letter["code"] == code
    assert letter["message"]
    assert sim.deliveries == {QueueName.MANIFESTS: 1}
    assert letter["body"] or not body


async def test_a_model_that_is_added_later_heals_a_dead_manifest_by_replay() -> None:
    urls = images(4)
    sim = Simulation()
    pin = sim.scorer.models.pop("digits")
    await sim.run({"images": urls})
    (letter,) = sim.buried()
    sim.scorer.models["digits"] = pin

    outcome = await sim.service.replay(DeadLetterFilter())
    await sim.drain()

    assert outcome.count == 1
    check_invariants(sim, letter["batch_id"], urls)
    assert not sim.buried()
    assert (await sim.service.replay(DeadLetterFilter())).count == 0


async def test_a_dead_manifest_that_dies_again_keeps_its_history() -> None:
    sim = Simulation()
    await sim.run(manifest("early", images(2), model="later"))

    for _ in range(2):
        await sim.service.replay(DeadLetterFilter(batch_id="early"))
        await sim.drain()

    (letter,) = sim.buried()
    assert (letter["attempts"], len(letter["history"]), letter["is_replaying"]) == (3, 2, False)
    assert (await sim.service.status("early")).error == {"code": "model_not_found", "message": letter["message"]}


@pytest.mark.parametrize(
    "text",
    [
        b'{"id":"a","url":"https://images.example/0.jpg"}\nhttps://images.example/1.jpg\n"https://images.example/2.jpg"',
        b"id,url\r\na,https://images.example/0.jpg\r\n,https://images.example/1.jpg\r\n,https://images.example/2.jpg\r\n",
    ],
)
async def test_a_pointer_leads_to_a_manifest_in_storage(text: bytes) -> None:
    sim = Simulation()
    await sim.storage.blobs("manifests").write("mine/list", text)
    await sim.storage.blobs("elsewhere").write("my list", text)

    await sim.run({"batch_id": "by-path", "manifest": "mine/list"})
    await sim.run({"batch_id": "by-url", "manifest": "https://account.blob.core.windows.net/elsewhere/my%20list"})

    for batch_id in ("by-path", "by-url"):
        rows = check_invariants(sim, batch_id, images(3))
        assert [row["id"] for row in rows] == ["a", "1", "2"]


async def test_a_prefix_of_the_account_stands_for_every_image_under_it() -> None:
    sim = Simulation()
    store = sim.storage.blobs("photos")
    for name in ("2026/a b.jpg", "2026/c.PNG", "2026/readme.txt", "2027/d.jpg"):
        await store.write(name, b"-")

    await sim.run({"batch_id": "all-of-2026", "manifest": "https://account.blob.core.windows.net/photos/2026/"})

    base = "https://account.blob.core.windows.net/photos/2026/"
    check_invariants(sim, "all-of-2026", [f"{base}a%20b.jpg", f"{base}c.PNG"])


async def test_a_prefix_with_other_images_under_it_by_now_is_other_content() -> None:
    sim = Simulation()
    store = sim.storage.blobs("photos")
    await store.write("2026/a.jpg", b"-")
    message = {"batch_id": "all", "manifest": f"{ACCOUNT_URL}/photos/2026/"}
    await sim.run(message)
    await sim.run(message)
    assert sim.buried() == []

    await store.write("2026/b.jpg", b"-")
    await sim.run(message)

    (letter,) = sim.buried()
    assert letter["code"] == "batch_conflict"
    with pytest.raises(BatchConflict):
        await sim.service.submit(orjson.dumps(message))


async def test_a_prefix_that_grows_while_the_reply_to_the_record_is_lost_is_no_conflict_with_itself() -> None:
    sim = Simulation()
    store = sim.storage.blobs("photos")
    await store.write("2026/a.jpg", b"-")
    writes: list[asyncio.Task[str]] = []

    def lose_reply(call: Call) -> None:
        if call.method == "blobs.write" and call.name == layout.record("all"):
            writes.append(asyncio.ensure_future(store.write("2026/b.jpg", b"-")))
            raise PreconditionFailed("storage was asked again, and found what the first try had written")

    sim.storage.after_call = lose_reply
    await sim.run({"batch_id": "all", "manifest": f"{ACCOUNT_URL}/photos/2026/"})

    assert [write.done() for write in writes] == [True]
    assert sim.buried() == []
    check_invariants(sim, "all", [f"{ACCOUNT_URL}/photos/2026/a.jpg"])


async def test_a_redelivery_after_success_writes_nothing() -> None:
    urls = images(3)
    sim = Simulation(ScriptedScorer({urls[1]: [ImageNotFound()]}))
    sim.drop(manifest("again", urls))
    await sim.step()
    (body,) = sim.queue(QueueName.SHARDS).bodies
    await sim.drain()
    before = {name: dict(sim.storage.blobs(name).contents) for name in ("manifests", "results", "deadletters")}
    sim.storage.restart()

    sim.queue(QueueName.SHARDS).put(body)
    await sim.drain()

    assert before == {name: dict(sim.storage.blobs(name).contents) for name in before}
    assert not [
        call for call in sim.storage.calls if call.method in {"blobs.write", "blobs.write_stream", "queue.send"}
    ]


async def test_a_shard_that_a_worker_gives_back_when_it_drains_is_scored_by_the_next() -> None:
    urls = images(3)
    sim = Simulation(settings=with_settings(shard_concurrency=1))
    sim.scorer.before = lambda _url: sim.draining.set()
    sim.drop(manifest("drained", urls))
    await sim.step()

    await sim.step()

    assert sim.scorer.attempts.total() == 1
    sim.draining.clear()
    sim.scorer.before = lambda _url: None
    await sim.drain()
    rows = check_invariants(sim, "drained", urls)
    assert [row["attempts"] for row in rows] == [1, 1, 1]
    assert sim.scorer.attempts.total() == 3


async def test_every_shard_is_scored_with_the_model_that_the_batch_was_pinned_to() -> None:
    urls = images(9)
    sim = Simulation()
    sim.drop(manifest("pinned", urls))
    await sim.step()
    pin = sim.scorer.models["digits"]
    sim.scorer.models["digits"] = type(pin)("digits", "2", "cd" * 32)

    await sim.drain()

    check_invariants(sim, "pinned", urls)
    assert sim.scorer.pins == {pin}


async def test_the_messages_of_a_batch_carry_one_trace() -> None:
    trace = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
    sim = Simulation()
    sim.drop(manifest("traced", images(3), traceparent=trace))

    await sim.step()

    messages = [orjson.loads(body) for name in (QueueName.SHARDS, QueueName.FINISH) for body in sim.queue(name).bodies]
    assert len(messages) == 2
    assert {message["traceparent"].split("-")[1] for message in messages} == {"ab" * 16}
