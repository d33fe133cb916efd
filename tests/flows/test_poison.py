"""What the host gives up on, and images that take their worker down; over the in-memory storage."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from inference.batch import layout
from inference.batch.layout import QueueName
from inference.batch.messages import FinishMessage, ShardMessage
from inference.batch.recover import MAX_RECOVERIES
from inference.batch.selection import DeadLetterFilter
from inference.errors import ImageNotFound, OriginUnavailable, StorageUnavailable
from inference.storage import MAX_MESSAGE_BYTES
from tests.fakes import Call
from tests.flows.invariants import check_invariants, without_volatile
from tests.flows.simulation import ScriptedScorer, Simulation, images, manifest, with_settings


def break_calls(sim: Simulation, method: str, part_of_name: str, times: int) -> None:
    """Let storage fail so many times at calls of a method whose store and name hold a text."""
    left = iter(range(times))

    def fail(call: Call) -> None:
        is_meant = call.method == method and part_of_name in f"{call.store}/{call.name}"
        if is_meant and next(left, None) is not None:
            raise StorageUnavailable

    sim.storage.before_call = fail


@pytest.mark.parametrize("queue", layout.WORK_QUEUES)
@pytest.mark.parametrize(
    "body", [b"", b"not json", b"{}", b"\xff\x00garbage", b'{"batch_id": "../../x"}', b"[]", b"x" * 49_000]
)
async def test_a_poison_message_that_is_not_ours_becomes_a_dead_letter_that_says_so(
    queue: QueueName, body: bytes
) -> None:
    sim = Simulation()
    sim.queue(layout.poison(queue)).put(body)

    await sim.drain()

    (letter,) = sim.buried()
    assert (letter["code"], letter["queue"]) == ("invalid_message", queue)
    assert len(letter["trace_id"]) == 32


@pytest.mark.parametrize("queue", [QueueName.SHARDS, QueueName.FINISH])
async def test_a_foreign_work_message_is_a_dead_letter_at_its_first_delivery(queue: QueueName) -> None:
    sim = Simulation()
    sim.queue(queue).put(b'{"hello": "world"}')

    await sim.drain()

    (letter,) = sim.buried()
    assert letter["code"] == "invalid_message"
    assert sim.deliveries == {queue: 1}


async def test_a_poison_message_that_the_host_copied_twice_is_one_dead_letter() -> None:
    sim = Simulation()
    for _ in range(2):
        sim.queue(layout.poison(QueueName.SHARDS)).put(b"garbage")

    await sim.drain()

    assert len(sim.buried()) == 1


@pytest.mark.parametrize("times", [1, 5, 12])
@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("blobs.write_stream", "manifests/_data"),
        ("blobs.write", "manifests/_batch"),
        ("queue.send", QueueName.SHARDS),
        ("queue.send", QueueName.FINISH),
        ("blobs.read_range", "manifests/_data"),
        ("blobs.write", "results/b/parts"),
        ("blobs.write", "deadletters/b/"),
        ("blobs.write", "results/b/summary"),
        ("queue.send", QueueName.EVENTS),
        ("blobs.list", "results/b"),
    ],
)
async def test_storage_that_fails_for_a_while_costs_no_item_and_no_attempt(method: str, name: str, times: int) -> None:
    # More failures than the host has deliveries: the message goes by way of the poison queue, and comes back.
    urls = images(7)
    sim = Simulation(ScriptedScorer({urls[2]: [ValueError()] * 9}))
    break_calls(sim, method, name, times)

    await sim.run(manifest("b", urls))

    rows = check_invariants(sim, "b", urls)
    assert [row["status"] for row in rows] == ["succeeded"] * 2 + ["failed"] + ["succeeded"] * 4
    assert [row["attempts"] for row in rows] == [1, 1, 3, 1, 1, 1, 1]
    assert not sim.buried()


async def test_a_manifest_without_an_id_that_was_half_expanded_is_carried_on_from_the_poison_queue() -> None:
    sim = Simulation()
    break_calls(sim, "queue.send", QueueName.FINISH, 5)

    await sim.run({"images": images(4)})

    (name,) = [name for name in sim.storage.blobs("manifests").contents if name.startswith(layout.RECORDS)]
    check_invariants(sim, layout.batch_id_of(name), images(4))


async def test_a_shard_that_this_service_fails_on_for_ever_ends_and_can_be_replayed() -> None:
    urls = images(3)
    defects = iter([ZeroDivisionError()] * 5 * (MAX_RECOVERIES + 1))

    def draw() -> float:
        if defect := next(defects, None):
            raise defect
        return 0.5

    sim = Simulation(draw=draw)

    await sim.run(manifest("b", urls))

    rows = check_invariants(sim, "b", urls)
    assert [row["error"]["code"] for row in rows] == ["internal_error"] * 3
    await sim.service.replay(DeadLetterFilter())
    await sim.drain()
    assert all(row["status"] == "succeeded" for row in check_invariants(sim, "b", urls))


async def test_a_finish_message_that_fails_for_ever_is_buried_and_a_replay_tries_on() -> None:
    urls = images(3)
    sim = Simulation()
    break_calls(sim, "blobs.write", "results/b/summary", 5 * (MAX_RECOVERIES + 1))
    await sim.run(manifest("b", urls))
    (letter,) = sim.buried()
    assert letter["queue"] == QueueName.FINISH

    await sim.service.replay(DeadLetterFilter(batch_id="b"))
    await sim.drain()

    check_invariants(sim, "b", urls)


@pytest.mark.parametrize("count", [1, 2, 7, 30])
@pytest.mark.parametrize("size", [1, 3, 30])
async def test_the_image_that_kills_ends_alone_and_its_neighbours_succeed(count: int, size: int) -> None:
    urls = images(count)
    killer = urls[count // 2]
    sim = Simulation(ScriptedScorer(killers=[killer]))

    await sim.run(manifest("b", urls, mini_batch_size=size))

    rows = check_invariants(sim, "b", urls)
    assert [(row["url"], row["error"]["code"]) for row in rows if row["status"] == "failed"] == [
        (killer, "worker_lost")
    ]
    assert not sim.buried()
    assert sim.crashes == sim.scorer.attempts[killer] <= 12


async def test_several_images_that_kill_end_alone() -> None:
    urls = images(12)
    killers = [urls[0], urls[5], urls[6], urls[11]]
    sim = Simulation(ScriptedScorer(killers=killers))

    await sim.run(manifest("b", urls, mini_batch_size=12))

    rows = check_invariants(sim, "b", urls)
    assert [row["url"] for row in rows if row["status"] == "failed"] == killers


async def test_a_lost_worker_is_not_a_verdict_when_the_image_does_not_kill_again() -> None:
    urls = images(4)
    sim = Simulation(ScriptedScorer(killers=urls[:1]))
    sim.drop(manifest("b", urls))
    await sim.step()
    await sim.step()
    await sim.step()
    assert sim.crashes
    sim.scorer.killers.clear()

    await sim.drain()

    assert all(row["status"] == "succeeded" for row in check_invariants(sim, "b", urls))


@pytest.mark.parametrize("times", [1, 4, 12])
async def test_a_marker_of_suspicion_that_storage_would_not_delete_is_deleted_later(times: int) -> None:
    urls = images(4)
    sim = Simulation(ScriptedScorer(killers={urls[1]}))
    sim.drop(manifest("b", urls))
    while not sim.crashes:
        await sim.step()
    sim.scorer.killers.clear()
    break_calls(sim, "blobs.delete", "suspects", times)

    await sim.drain()

    assert {row["status"] for row in check_invariants(sim, "b", urls)} == {"succeeded"}
    assert sim.scorer.attempts[urls[1]] == 2  # the rows were there


async def test_a_replay_of_the_image_that_kills_says_so_again() -> None:
    urls = images(5)
    sim = Simulation(ScriptedScorer(killers=urls[2:3]))
    await sim.run(manifest("b", urls))

    await sim.service.replay(DeadLetterFilter())
    await sim.drain()

    check_invariants(sim, "b", urls)
    (letter,) = sim.letters("b/")
    assert (letter["code"], len(letter["history"])) == ("worker_lost", 1)


async def test_messages_that_were_lost_are_sent_again_after_long_silence() -> None:
    # Somebody cleared the queue: nothing of the batch is on its way any more but its finish message.
    urls = images(9)
    sim = Simulation(ScriptedScorer({urls[0]: [ConnectionError()]}))
    sim.drop(manifest("b", urls))
    await sim.step()
    await sim.step()
    shards = sim.queue(QueueName.SHARDS)
    sim.storage.clock.advance(60)
    while received := shards.receive():
        shards.delete(received)

    await sim.drain()

    assert all(row["status"] == "succeeded" for row in check_invariants(sim, "b", urls, rescues=1))


async def test_the_halves_of_a_shard_lose_nothing_of_each_other() -> None:
    urls = images(6)
    sim = Simulation()
    sim.drop(manifest("b", urls, mini_batch_size=6))
    await sim.step()
    shards = sim.queue(QueueName.SHARDS)
    whole = ShardMessage.decode(shards.bodies[0])
    received = shards.receive()
    assert received
    shards.delete(received)
    for first in (0, 3):
        shards.put(whole.changed(first=first, count=3).encode())
    halves = [half for _ in range(2) if (half := shards.receive())]

    await asyncio.gather(*(sim.deliver(QueueName.SHARDS, half) for half in halves))
    await sim.drain()

    check_invariants(sim, "b", urls)
    assert set(sim.scorer.attempts.values()) == {1}


async def test_a_message_that_arrives_late_finds_that_a_later_one_is_on_its_way() -> None:
    urls = images(3)
    sim = Simulation(ScriptedScorer({urls[0]: [OriginUnavailable()]}))
    sim.drop(manifest("b", urls))
    await sim.step()
    (body,) = sim.queue(QueueName.SHARDS).bodies
    await sim.step()
    (following,) = sim.queue(QueueName.SHARDS).bodies

    sim.queue(QueueName.SHARDS).put(body)
    await sim.step()

    assert sim.queue(QueueName.SHARDS).bodies == [following]
    assert sim.scorer.attempts[urls[0]] == 1


async def test_a_finisher_that_was_held_up_does_not_write_over_a_later_round(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = images(4)
    sim = Simulation(ScriptedScorer({urls[0]: [ImageNotFound()]}))
    enter, is_held_up = sim.storage.enter, False

    async def hold_up(method: str, store: str, name: str = "") -> Call:
        nonlocal is_held_up
        if name == "b/results.jsonl" and method == "blobs.write_stream" and not is_held_up:
            is_held_up = True  # every part is read; meanwhile somebody replays, and another worker ends that
            await sim.service.replay(DeadLetterFilter())
            while not sim.blob("results", layout.summary("b")):
                await sim.step()
        return await enter(method, store, name)

    monkeypatch.setattr(sim.storage, "enter", hold_up)
    await sim.run(manifest("b", urls))

    assert sim.summary("b")["round"] == 1
    assert all(row["status"] == "succeeded" for row in check_invariants(sim, "b", urls))


async def test_a_failed_row_has_its_dead_letter_as_soon_as_its_part_is_written() -> None:
    urls = images(6)
    sim = Simulation(ScriptedScorer({urls[0]: [ImageNotFound()]}))
    sim.drop(manifest("b", urls))
    await sim.step()
    await sim.step()

    assert [letter["index"] for letter in sim.letters("b/")] == [0]


async def test_two_workers_on_one_message_make_one_result() -> None:
    urls = images(3)
    script = {urls[1]: [ValueError()]}
    alone = Simulation(ScriptedScorer(script))
    await alone.run(manifest("b", urls))
    sim = Simulation(ScriptedScorer(script))
    sim.drop(manifest("b", urls))
    await sim.step()
    (body,) = sim.queue(QueueName.SHARDS).bodies
    sim.queue(QueueName.SHARDS).put(body)
    first, second = sim.queue(QueueName.SHARDS).receive(), sim.queue(QueueName.SHARDS).receive()
    assert first
    assert second

    await asyncio.gather(sim.deliver(QueueName.SHARDS, first), sim.deliver(QueueName.SHARDS, second))
    await sim.drain()

    assert without_volatile(check_invariants(sim, "b", urls)) == without_volatile(alone.rows("b"))


async def test_a_write_that_succeeded_though_its_reply_was_lost_is_found_done() -> None:
    urls = images(7)
    plain = Simulation(ScriptedScorer({urls[3]: [ValueError()] * 9}))
    await plain.run(manifest("b", urls))
    calls = len(plain.storage.calls)

    for number in range(1, calls + 1):
        sim = Simulation(ScriptedScorer({urls[3]: [ValueError()] * 9}))

        def lose_reply(call: Call, number: int = number) -> None:
            if call.number == number:
                raise StorageUnavailable

        sim.storage.after_call = lose_reply
        await sim.run(manifest("b", urls))

        assert without_volatile(check_invariants(sim, "b", urls)) == without_volatile(plain.rows("b")), number


async def test_a_manifest_that_takes_its_reader_down_is_buried() -> None:
    sim = Simulation(settings=with_settings(shard_size=1))

    def die(call: Call) -> None:
        if call.method == "blobs.write_stream":
            sim.scorer.kill()

    for _ in range(40):
        sim.storage.before_call = die
        if not sim.queue(QueueName.MANIFESTS).bodies and not sim.crashes:
            sim.drop(manifest("b", images(2)))
        if not await sim.step():
            break

    (letter,) = sim.buried()
    assert letter["code"] == "worker_lost"
    assert orjson.loads(letter["body"])["batch_id"] == "b"

    sim.storage.before_call = lambda _: None
    await sim.service.replay(DeadLetterFilter(batch_id="b"))
    await sim.drain()
    assert sim.summary("b")["succeeded"] == 2
    assert sim.buried() == []


async def test_a_poisoned_manifest_without_an_id_is_not_taken_for_a_batch_that_has_ended() -> None:
    sim = Simulation()
    body = orjson.dumps({"images": images(3)})
    await sim.run(body)
    sim.queue(layout.poison(QueueName.MANIFESTS)).put(body)
    await sim.drain()

    assert sorted(event["batch_id"][:2] for event in sim.events()) == ["m-", "p-"]


async def test_a_shard_that_a_batch_does_not_have_is_a_dead_letter() -> None:
    sim = Simulation()
    await sim.run(manifest("b", images(3)))
    message = ShardMessage(batch_id="b", shard=99, offset=0, bytes=10, first=198, count=2)
    sim.queue(QueueName.SHARDS).put(message.encode())
    await sim.drain()

    (buried,) = sim.buried()
    assert (buried["code"], buried["message"]) == ("invalid_message", "The batch b has no shard 99.")


async def test_a_finish_that_was_given_up_has_a_code_of_the_table() -> None:
    sim = Simulation()
    await sim.run(manifest("b", images(3)))
    message = FinishMessage(batch_id="b", recoveries=MAX_RECOVERIES)
    sim.queue(layout.poison(QueueName.FINISH)).put(message.encode())
    await sim.drain()

    assert [buried["code"] for buried in sim.buried()] == ["internal_error"]


async def test_a_dead_manifest_that_became_too_long_for_a_message_is_replayed() -> None:
    scorer = ScriptedScorer()
    sim = Simulation(scorer)
    urls = [f"https://images.example/{index:04d}{'x' * 80}.jpg" for index in range(430)]
    short = len(orjson.dumps({"model": "absent", "images": urls}))
    urls[0] += "x" * (MAX_MESSAGE_BYTES - short)
    body = orjson.dumps({"model": "absent", "images": urls})
    assert len(body) == MAX_MESSAGE_BYTES
    await sim.run(body)
    assert [buried["code"] for buried in sim.buried()] == ["model_not_found"]

    outcome = await sim.service.replay(DeadLetterFilter())
    assert outcome.count == 1
    await sim.drain()
    (buried,) = sim.buried()
    assert (buried["code"], buried["queue"]) == ("model_not_found", QueueName.MANIFESTS)
