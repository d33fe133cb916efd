"""A batch's callback, from manifest to POST; over the in-memory storage and a receiver that follows a script."""

from __future__ import annotations

import hashlib
import hmac
import logging

import orjson
import pytest

from inference.batch.layout import QueueName, poison
from inference.batch.selection import DeadLetterFilter
from inference.errors import ImageNotFound, InvalidManifest, OriginTimeout, ShuttingDown
from inference.fetch.poster import Answer
from inference.settings import CallbackSettings
from tests.flows.invariants import check_invariants
from tests.flows.simulation import ScriptedReceiver, ScriptedScorer, Simulation, images, manifest, with_settings

URLS = images(4)
HOOK = "https://hooks.example/done?token=canary-secret"


async def test_an_ended_batch_is_told_once_the_event_is_out_with_the_same_body() -> None:
    sim = Simulation(callbacks=CallbackSettings(secret="s3cret"))

    await sim.run(manifest("b", URLS, callback_url=HOOK))

    check_invariants(sim, "b", URLS)
    (post,) = sim.receiver.posts
    (event,) = sim.queue(QueueName.EVENTS).bodies
    assert (post.url, post.body, list(post.events)) == (HOOK, event, [event])
    signature = hmac.new(b"s3cret", event, hashlib.sha256).hexdigest()
    trace_id = orjson.loads(event)["traceparent"].split("-")[1]
    assert post.headers == {
        "Content-Type": "application/json",
        "Idempotency-Key": "b/0",
        "x-request-id": trace_id,
        "traceparent": orjson.loads(event)["traceparent"],
        "x-onnxfn-signature": f"sha256={signature}",
    }


async def test_nothing_is_signed_without_a_secret_and_nobody_told_without_a_url() -> None:
    sim = Simulation()

    await sim.run(manifest("told", URLS, callback_url=HOOK))
    await sim.run(manifest("silent", URLS))

    (post,) = sim.receiver.posts
    assert post.headers["Idempotency-Key"] == "told/0"
    assert "x-onnxfn-signature" not in post.headers


async def test_a_replay_is_told_under_a_key_of_its_own() -> None:
    sim = Simulation(ScriptedScorer({URLS[0]: [ImageNotFound()]}))
    await sim.run(manifest("b", URLS, callback_url=HOOK))

    await sim.service.replay(DeadLetterFilter(batch_id="b"))
    await sim.drain()

    assert [post.headers["Idempotency-Key"] for post in sim.receiver.posts] == ["b/0", "b/1"]
    assert [orjson.loads(post.body)["failed"] for post in sim.receiver.posts] == [1, 0]


async def test_a_callback_that_comes_after_a_replay_has_ended_still_tells_of_its_own_round() -> None:
    """Were the body read from the summary, the first end would never be told, and the second one twice."""
    sim = Simulation(
        ScriptedScorer({URLS[0]: [ImageNotFound()]}),
        receiver=ScriptedReceiver(Answer(503, retry_after_seconds=250.0)),
    )
    sim.drop(manifest("b", URLS, callback_url=HOOK))
    while not sim.receiver.posts:
        await sim.step()

    await sim.service.replay(DeadLetterFilter(batch_id="b"))
    await sim.drain()

    told = [(post.headers["Idempotency-Key"], orjson.loads(post.body)["failed"]) for post in sim.receiver.posts]
    assert told == [("b/0", 1), ("b/1", 0), ("b/0", 1)]


async def test_a_cancelled_batch_is_told_too() -> None:
    sim = Simulation()
    sim.drop(manifest("b", URLS, callback_url=HOOK))
    await sim.step()

    await sim.service.cancel("b")
    await sim.drain()

    assert {orjson.loads(post.body)["state"] for post in sim.receiver.posts} == {"cancelled"}


async def test_whatever_failed_is_tried_again_later_each_time_and_given_up_after_so_many_attempts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    receiver = ScriptedReceiver(500, 404, 302, OriginTimeout("https://secret"), 429, 200)
    sim = Simulation(receiver=receiver, callbacks=CallbackSettings(max_attempts=5))
    begun = sim.storage.clock.monotonic()

    with caplog.at_level(logging.INFO, "inference.batch"):
        await sim.run(manifest("b", URLS, callback_url=HOOK))

    # The batch itself did not wait for any of it.
    check_invariants(sim, "b", URLS)
    assert len(sim.queue(QueueName.EVENTS).bodies) == 1
    assert len(receiver.posts) == 5
    # Jitter is one half here: 1, 2, 4 and 8 s of back-off.
    assert sim.storage.clock.monotonic() - begun >= 15
    told = [(record.__dict__["action"], record.__dict__["reason"]) for record in caplog.records]
    assert told == [
        ("callback_retried", "status_500"),
        ("callback_retried", "status_404"),
        ("callback_retried", "status_302"),
        ("callback_retried", "origin_timeout"),
        ("callback_given_up", "status_429"),
    ]
    assert caplog.messages[-1] == "callback of b to https://hooks.example/done?…: given up: status_429"
    assert {record.__dict__["url"] for record in caplog.records} == {"https://hooks.example/done?…"}
    assert "secret" not in repr([record.__dict__ for record in caplog.records])
    assert not sim.buried()


@pytest.mark.parametrize(("asked", "waited"), [(30.0, 30.0), (1e9, 40.0), (0.0, 1.0)])
async def test_retry_after_is_honoured_up_to_the_cap(asked: float, waited: float) -> None:
    sim = Simulation(
        receiver=ScriptedReceiver(Answer(503, retry_after_seconds=asked)),
        settings=with_settings(retry_cap_seconds=40.0),
    )
    sim.drop(manifest("b", URLS, callback_url=HOOK))
    while not sim.receiver.posts:
        await sim.step()
    failed_at = sim.storage.clock.monotonic()

    await sim.drain()

    assert len(sim.receiver.posts) == 2
    assert sim.storage.clock.monotonic() - failed_at == waited


async def test_a_worker_that_shuts_down_gives_the_callback_back_uncharged() -> None:
    sim = Simulation(receiver=ScriptedReceiver(ShuttingDown(), 200), callbacks=CallbackSettings(max_attempts=1))

    await sim.run(manifest("b", URLS, callback_url=HOOK))

    assert len(sim.receiver.posts) == 2


async def test_a_url_that_is_no_longer_allowed_is_not_told_and_not_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sim = Simulation()
    sim.drop(manifest("b", URLS, callback_url=HOOK))
    await sim.step()
    sim.receiver.allowed = "https://elsewhere.example/"

    await sim.drain()

    check_invariants(sim, "b", URLS)
    assert not sim.receiver.posts
    (record,) = [record for record in caplog.records if record.name == "inference.batch"]
    assert (record.levelname, record.__dict__["action"]) == ("WARNING", "callback_refused")


@pytest.mark.parametrize("url", ["https://elsewhere.example/?canary", "http://canary@hooks.example/", "x?canary"])
async def test_a_manifest_with_a_callback_that_is_not_allowed_is_refused(url: str) -> None:
    sim = Simulation()

    with pytest.raises(InvalidManifest, match="callback_url: The url is not below") as refused:
        await sim.service.submit(orjson.dumps(manifest("b", URLS, callback_url=url)))
    await sim.run(manifest("b", URLS, callback_url=url))

    assert "canary" not in refused.value.message
    (letter,) = (await sim.service.list_dead_letters(DeadLetterFilter())).records
    assert (letter["code"], letter["message"]) == ("invalid_manifest", refused.value.message)
    assert "canary" not in repr(letter)
    assert not sim.receiver.posts


async def test_another_callback_does_not_make_another_batch_and_the_first_one_counts() -> None:
    sim = Simulation()
    other = "https://hooks.example/other"

    await sim.service.submit(orjson.dumps(manifest("b", URLS, callback_url=HOOK)))
    await sim.service.submit(orjson.dumps(manifest("b", URLS, callback_url=other)))
    await sim.drain()
    await sim.service.submit(orjson.dumps(manifest("b", URLS)))
    await sim.run(manifest("b", URLS, callback_url=other))

    check_invariants(sim, "b", URLS)
    assert {post.url for post in sim.receiver.posts} == {HOOK}
    assert not sim.buried()


async def test_a_bare_manifest_has_its_callback_in_the_query() -> None:
    sim = Simulation()

    await sim.service.submit("\n".join(URLS).encode(), "text/plain", {"batch_id": "b", "callback_url": HOOK})
    await sim.drain()

    assert [post.url for post in sim.receiver.posts] == [HOOK]


async def test_a_callback_that_the_host_gave_up_on_is_carried_on_from_the_poison_queue() -> None:
    """Five deliveries may fail because storage does; the errand must come out of the poison queue as what it was."""
    sim = Simulation()
    sim.drop(manifest("b", URLS, callback_url=HOOK))
    finish = sim.queue(QueueName.FINISH)
    while not any(orjson.loads(body).get("event") for body in finish.bodies):
        await sim.step()

    (errand,) = [body for body in finish.bodies if orjson.loads(body).get("event")]
    sim.queue(poison(QueueName.FINISH)).put(errand)
    await sim.drain()

    assert [post.headers["Idempotency-Key"] for post in sim.receiver.posts] == ["b/0", "b/0"]
