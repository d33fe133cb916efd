from __future__ import annotations

import asyncio
from collections.abc import Mapping

import orjson
import pytest

from inference.batch.callbacks import Callbacks, Outcome, callback_errand, judge, redact_callback, sign
from inference.batch.layout import ContainerName, QueueName
from inference.batch.messages import FinishMessage, ManifestMessage
from inference.batch.ports import Queues, Stores
from inference.batch.record import BatchRecord, Records
from inference.batch.retry import RetryPolicy
from inference.errors import InvalidManifest
from inference.fetch.poster import Answer
from inference.settings import BatchSettings, CallbackSettings
from tests.fakes import FakeStorage

RECORD = BatchRecord(
    batch_id="b",
    digest="d",
    asked="a",
    source="s",
    message_id="m",
    model="digits",
    version="1",
    sha256="ab" * 32,
    total=1,
    shards=1,
    mini_batch_size=1,
    max_attempts=1,
    error_threshold=-1,
    callback_url="https://hooks.example/done",
    manifest="manifest",
    manifest_etag="e",
    table="table",
    created_at="2026-01-01T00:00:00+00:00",
    traceparent="00-" + "ab" * 16 + "-" + "cd" * 8 + "-01",
)


def test_the_signature_is_the_hmac_that_receivers_compute() -> None:
    # RFC 4231, test case 2
    assert sign("Jefe", b"what do ya want for nothing?") == (
        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


def test_every_callback_is_refused_where_there_is_nobody_to_post_it() -> None:
    storage = FakeStorage()
    stores = Stores(**{name.value: storage.blobs(name) for name in ContainerName})
    queues = Queues(**{name.name.lower(): storage.queue(name) for name in QueueName})
    callbacks = Callbacks(queues, Records(stores), None, CallbackSettings(), BatchSettings(), lambda: 0.5)

    callbacks.check(None)
    with pytest.raises(InvalidManifest, match="callback_url: No callback is allowed here"):
        callbacks.check("https://hooks.example/canary")


async def test_while_one_callback_is_under_way_another_comes_again_later_and_is_not_charged() -> None:
    storage = FakeStorage()
    stores = Stores(**{name.value: storage.blobs(name) for name in ContainerName})
    queues = Queues(**{name.name.lower(): storage.queue(name) for name in QueueName})
    await Records(stores).create(RECORD)
    message = callback_errand(RECORD, {"event_id": "b/0", "round": 0})
    begun, gate = asyncio.Event(), asyncio.Event()

    class Silent:
        def check(self, url: str) -> None: ...

        async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
            begun.set()
            await gate.wait()
            return Answer(200)

    callbacks = Callbacks(queues, Records(stores), Silent(), CallbackSettings(), BatchSettings(), lambda: 0.5)
    first = asyncio.create_task(callbacks.deliver(message, {"event_id": "b/0"}))
    await begun.wait()

    await callbacks.deliver(message, {"event_id": "b/0"})

    (again,) = map(orjson.loads, storage.queue(QueueName.FINISH).bodies)
    assert (again.get("attempts", 0), again["delay_seconds"]) == (0, 7.5)
    gate.set()
    await first
    await callbacks.deliver(message, {"event_id": "b/0"})
    assert len(storage.queue(QueueName.FINISH).bodies) == 1


@pytest.mark.parametrize(
    ("attempts", "retry_after_seconds", "outcome", "wait_seconds"),
    [
        (1, None, Outcome.RETRIED, 1.0),
        (2, None, Outcome.RETRIED, 2.0),
        (2, 1.0, Outcome.RETRIED, 2.0),
        (2, 7.0, Outcome.RETRIED, 7.0),
        (2, 9999.0, Outcome.RETRIED, 10.0),
        (4, None, Outcome.RETRIED, 5.0),
        (5, None, Outcome.GIVEN_UP, 0.0),
        (5, 7.0, Outcome.GIVEN_UP, 0.0),
        (99, None, Outcome.GIVEN_UP, 0.0),
    ],
)
def test_a_failed_attempt_is_judged_by_how_many_there_were(
    attempts: int, retry_after_seconds: float | None, outcome: Outcome, wait_seconds: float
) -> None:
    policy = RetryPolicy(max_attempts=5, base_seconds=2.0, cap_seconds=10.0)

    attempt = judge(attempts, "status_503", retry_after_seconds, policy, jitter=0.5)

    assert (attempt.outcome, attempt.reason, attempt.wait_seconds) == (outcome, "status_503", wait_seconds)


def test_an_earlier_release_takes_the_errand_for_a_look_that_starts_no_chain() -> None:
    errand = callback_errand(RECORD, {"round": 2, "event_id": "b/2"})

    sent = orjson.loads(errand.encode())
    assert FinishMessage.decode(errand.encode()) == errand
    del sent["event"], sent["attempts"]
    earlier = FinishMessage.decode(orjson.dumps(sent))
    assert (earlier.event, earlier.is_errand, earlier.round) == (None, True, 2)


def test_a_callback_is_no_part_of_what_makes_a_batch_the_same() -> None:
    plain = ManifestMessage(images=["https://a.example/1"])
    told = plain.changed(callback_url="https://hooks.example/done")

    assert (told.key, told.settings) == (plain.key, plain.settings)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ('{"callback_url": "https://h.example/a?canary", "v": 1}', '{"callback_url": "https://h.example/a?…", "v": 1}'),
        ('{"callback_url":"https://canary@h.example/a"}', '{"callback_url":"https://h.example/a"}'),
        ('{"callback_url" : "https:\\/\\/canary\\u0040h.example"', '{"callback_url" : "https://h.example"'),
        ('{"callback_url": "https://h.example/a?canary', '{"callback_url": "https://h.example/a?…"'),
        ('{"callback_url": "\\canary"}', '{"callback_url": "…"}'),
        ('{"callback_url": null, "images": ["https://h.example/?a"]}', None),
        ("not a manifest", None),
    ],
)
def test_the_text_of_a_manifest_is_shown_with_its_callback_redacted(text: str, redacted: str | None) -> None:
    assert redact_callback(text) == (redacted or text)
