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
from inference.batch.survey import BatchState
from inference.errors import BatchNotFound, ImageNotFound, OriginUnavailable, StorageUnavailable
from inference.storage import MAX_MESSAGE_BYTES
from tests.fakes import HOST_LEASE_SECONDS, Call, Crash, FakeStorage
from tests.flows.invariants import check_invariants, without_volatile
from tests.flows.simulation import ScriptedScorer, Simulation, break_calls, images, manifest, with_settings


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


async def test_the_same_text_in_several_queues_is_a_dead_letter_of_each() -> None:
    sim = Simulation()
    for queue in layout.WORK_QUEUES:
        sim.queue(queue).put(b"not json")
        sim.queue(layout.poison(queue)).put(b"not json")

    await sim.drain()

    assert sorted(letter["queue"] for letter in sim.buried()) == sorted(layout.WORK_QUEUES)


@pytest.mark.parametrize(
    "message",
    [
        ShardMessage(batch_id="nobody", shard=0, offset=0, bytes=10, first=0, count=1),
        FinishMessage(batch_id="nobody"),
    ],
)
async def test_a_stray_work_message_makes_no_batch_of_the_id_that_it_names(
    message: ShardMessage | FinishMessage,
) -> None:
    sim = Simulation()
    await sim.run(manifest("b", images(1)))
    sim.storage.clock.advance(60)
    sim.queue(QueueName.SHARDS if isinstance(message, ShardMessage) else QueueName.FINISH).put(message.encode())

    await sim.drain()

    assert [letter["code"] for letter in sim.buried()] == ["batch_not_found"]
    with pytest.raises(BatchNotFound):
        await sim.service.status("nobody")
    with pytest.raises(BatchNotFound):
        await sim.service.cancel("nobody")
    assert [status.batch_id for status in await sim.service.list_batches(1)] == ["b"]


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


async def poison_half_expanded(sim: Simulation) -> None:
    """Have a manifest of four images, without an id, given up on when its shards were sent and its finish was not."""
    break_calls(sim, "queue.send", QueueName.FINISH, 5)
    sim.drop({"images": images(4)})
    while not sim.queue(layout.poison(QueueName.MANIFESTS)).bodies:
        assert await sim.step()


async def test_two_poison_copies_of_a_half_expanded_manifest_without_an_id_are_one_batch() -> None:
    sim = Simulation()
    await poison_half_expanded(sim)
    (body,) = sim.queue(layout.poison(QueueName.MANIFESTS)).bodies
    sim.queue(layout.poison(QueueName.MANIFESTS)).put(body)

    await sim.drain()

    (event,) = sim.events()
    check_invariants(sim, event["batch_id"], images(4))


@pytest.mark.parametrize("is_at_once", [True, False])
async def test_equal_manifests_without_ids_that_were_half_expanded_all_come_to_their_end(is_at_once: bool) -> None:
    sim = Simulation()
    break_calls(sim, "queue.send", QueueName.FINISH, 15)
    for _ in range(3):
        sim.drop({"images": images(4)})
        if not is_at_once:
            break_calls(sim, "queue.send", QueueName.FINISH, 5)
            await sim.drain()
    await sim.drain()

    ended = {event["batch_id"] for event in sim.events()}
    assert len(ended) == 3
    for batch_id in ended:
        check_invariants(sim, batch_id, images(4))
    assert sim.buried() == []


async def test_a_changed_manifest_without_an_id_is_not_taken_for_a_recovered_batch_of_the_same_path() -> None:
    sim = Simulation()
    for count in (4, 5):
        await sim.storage.blobs("manifests").write("daily.txt", "\n".join(["url", *images(count)]).encode())
        break_calls(sim, "queue.send", QueueName.FINISH, 5 if count == 4 else 0)
        sim.drop({"manifest": "daily.txt"})
        if count == 5:
            received = sim.queue(QueueName.MANIFESTS).receive()
            assert received
            sim.queue(QueueName.MANIFESTS).move_to_poison(received)
        await sim.drain()

    assert sorted(event["total"] for event in sim.events()) == [4, 5]


async def test_a_path_without_an_id_that_was_given_up_on_each_day_is_a_batch_of_its_own_each_day() -> None:
    sim = Simulation()
    for count in (4, 5, 6):
        await sim.storage.blobs("manifests").write("daily.txt", "\n".join(["url", *images(count)]).encode())
        break_calls(sim, "blobs.properties", "manifests/daily", 5)
        await sim.run({"manifest": "daily.txt"})

    assert sorted(event["total"] for event in sim.events()) == [4, 5, 6]
    assert sim.buried() == []


async def test_a_death_at_any_moment_of_a_recovery_makes_no_second_batch_of_a_manifest_without_an_id() -> None:
    plain = Simulation()
    await poison_half_expanded(plain)
    begun = len(plain.storage.calls)
    while plain.queue(layout.poison(QueueName.MANIFESTS)).bodies:
        assert await plain.step()

    for number in range(begun + 1, len(plain.storage.calls) + 1):
        for die in (FakeStorage.crash_before, FakeStorage.crash_after):
            sim = Simulation()
            await poison_half_expanded(sim)
            die(sim.storage, number)
            await sim.drain()
            (event,) = sim.events()
            check_invariants(sim, event["batch_id"], images(4))
            assert sim.buried() == []


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


@pytest.mark.parametrize(("method", "name"), [("blobs.write", "results/b/summary"), ("queue.send", QueueName.EVENTS)])
async def test_a_finish_message_that_fails_for_ever_is_buried_and_a_replay_tries_on(method: str, name: str) -> None:
    urls = images(3)
    sim = Simulation()
    break_calls(sim, method, name, 5 * (MAX_RECOVERIES + 1))
    await sim.run(manifest("b", urls))
    (letter,) = sim.buried()
    assert letter["queue"] == QueueName.FINISH

    await sim.service.replay(DeadLetterFilter(batch_id="b"))
    await sim.drain()

    check_invariants(sim, "b", urls)
    assert not sim.buried()


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


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("blobs.properties", "b/results.jsonl"),
        ("blobs.write_stream", "b/results.jsonl"),
        ("blobs.write", "b/summary.json"),
    ],
)
async def test_the_event_comes_though_one_of_two_holders_of_a_finish_dies_before_it(
    method: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = images(3)
    sim = Simulation()
    sim.drop(manifest("b", urls))
    while not sim.storage.blobs("results").contents:
        assert await sim.step()
    finish = sim.queue(QueueName.FINISH)
    sim.storage.clock.advance(HOST_LEASE_SECONDS)
    paused = finish.receive()
    sim.storage.clock.advance(HOST_LEASE_SECONDS)
    second = finish.receive()
    assert paused
    assert second
    enter = sim.storage.enter

    def die(call: Call) -> None:
        if call.store == QueueName.EVENTS:
            raise Crash

    async def wake_up(called: str, store: str, what: str = "") -> Call:
        if (called, what) == (method, name) and not sim.crashes:
            monkeypatch.setattr(sim.storage, "enter", enter)
            sim.storage.before_call = die
            await sim.deliver(QueueName.FINISH, paused)
        return await enter(called, store, what)

    monkeypatch.setattr(sim.storage, "enter", wake_up)
    await sim.deliver(QueueName.FINISH, second)
    await sim.drain()

    assert sim.crashes == 1
    check_invariants(sim, "b", urls)


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


async def test_the_id_of_a_manifest_that_takes_its_reader_down_is_free_for_a_repaired_one() -> None:
    sim = Simulation()

    def die(call: Call) -> None:
        if call.method == "blobs.write_stream":
            sim.scorer.kill()

    await sim.service.submit(orjson.dumps(manifest("b", images(2))))
    while not sim.buried():
        sim.storage.before_call = die
        assert await sim.step()
    sim.storage.before_call = lambda _: None
    sim.storage.clock.advance(1)

    await sim.service.submit(orjson.dumps(manifest("b", images(3))))
    assert (await sim.service.status("b")).state is BatchState.QUEUED
    await sim.drain()
    assert sim.summary("b")["succeeded"] == 3


async def test_a_batch_whose_messages_cannot_be_sent_for_hours_is_never_given_up() -> None:
    sim = Simulation()
    break_calls(sim, "queue.send", QueueName.SHARDS, 200)

    await sim.run(manifest("b", images(4)))

    check_invariants(sim, "b", images(4))
    assert sim.buried() == []


async def test_a_poisoned_manifest_that_is_carried_out_is_not_buried_however_often_it_comes() -> None:
    """The host could not delete the message of a batch, nor for long the copy of it in the poison queue."""
    sim = Simulation()
    body = orjson.dumps(manifest("b", images(3)))
    await sim.run(body)
    poison = layout.poison(QueueName.MANIFESTS)
    sim.queue(poison).put(body)
    for _ in range(20):
        received = sim.queue(poison).receive()
        assert received
        sim.queue(poison).release(received)

    await sim.drain()

    check_invariants(sim, "b", images(3))
    assert sim.buried() == []


async def test_a_poisoned_manifest_without_an_id_is_not_taken_for_a_batch_that_has_ended() -> None:
    sim = Simulation()
    body = orjson.dumps({"images": images(3)})
    await sim.run(body)
    sim.queue(layout.poison(QueueName.MANIFESTS)).put(body)
    await sim.drain()

    assert sorted(event["batch_id"][:2] for event in sim.events()) == ["m-", "p-"]


async def test_the_event_that_storage_refused_comes_though_a_replay_begins_before_it_is_tried_again() -> None:
    urls = images(3)
    sim = Simulation(ScriptedScorer({urls[1]: [ImageNotFound()]}))
    break_calls(sim, "queue.send", QueueName.EVENTS, 1)
    sim.drop(manifest("b", urls))
    while sim.blob("results", layout.summary("b")) is None:
        assert await sim.step()
    await sim.service.replay(DeadLetterFilter(batch_id="b"))
    await sim.drain()

    check_invariants(sim, "b", urls)
    assert [event["event_id"] for event in sim.events()] == ["b/0", "b/1"]


async def test_a_suspect_message_that_finds_its_rows_final_takes_the_marker_of_its_range_away() -> None:
    sim = Simulation()
    await sim.run(manifest("b", images(3)))
    await sim.storage.blobs("manifests").write(layout.suspect("b", 0, 0, 3), b'["earlier/5"]')

    message = ShardMessage(batch_id="b", shard=0, offset=0, bytes=10, first=0, count=3, is_suspect=True)
    sim.queue(QueueName.SHARDS).put(message.encode())
    await sim.drain()

    check_invariants(sim, "b", images(3))


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
