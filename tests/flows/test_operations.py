"""What operators do with a batch: replay, purge, export, cancel, thresholds; over the in-memory storage."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import timedelta

import orjson
import pytest

from inference.batch import layout
from inference.batch.layout import QueueName
from inference.batch.selection import DeadLetterFilter
from inference.batch.survey import BatchState
from inference.errors import (
    BatchNotFound,
    ImageNotFound,
    InvalidImage,
    NotFound,
    OriginUnavailable,
    StorageUnavailable,
)
from tests.fakes import Call, Crash, FakeStorage
from tests.flows.invariants import check_invariants
from tests.flows.simulation import ScriptedScorer, Simulation, break_calls, images, manifest

URLS = images(7)


async def failed_batch(**more: object) -> Simulation:
    """Return a drained simulation with a batch `b` whose items 1 and 5 failed, one for each of two codes."""
    sim = Simulation(ScriptedScorer({URLS[1]: [ImageNotFound()], URLS[5]: [InvalidImage()]}))
    await sim.run(manifest("b", URLS, **more))
    return sim


async def test_replay_tries_just_the_failed_items_and_writes_the_results_anew() -> None:
    sim = await failed_batch()
    before = sim.rows("b")
    tried = dict(sim.scorer.attempts)

    outcome = await sim.service.replay(DeadLetterFilter(batch_id="b"))
    assert (await sim.service.status("b")).state is BatchState.RUNNING
    await sim.drain()

    assert outcome.as_dict("replayed") == {
        "replayed": 2,
        "batches": [{"batch_id": "b", "round": 1, "items": 2}],
        "dry_run": False,
    }
    rows = check_invariants(sim, "b", URLS)
    assert all(row["status"] == "succeeded" for row in rows)
    assert [rows[index] for index in (0, 2, 3, 4, 6)] == [before[index] for index in (0, 2, 3, 4, 6)]
    assert {url: count - tried[url] for url, count in sim.scorer.attempts.items() if count != tried[url]} == {
        URLS[1]: 1,
        URLS[5]: 1,
    }
    assert [event["event_id"] for event in sim.events()] == ["b/0", "b/1"]


async def test_dead_letters_of_many_shards_are_purged_several_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = images(40)
    sim = Simulation(ScriptedScorer({url: [ImageNotFound()] for url in urls}))
    await sim.run(manifest("b", urls, mini_batch_size=1))
    under_way: list[str] = []
    peaks: Counter[str] = Counter()
    enter = FakeStorage.enter

    async def noted(storage: FakeStorage, method: str, store: str, name: str = "") -> Call:
        kind = f"{method} {store}"
        under_way.append(kind)
        peaks[kind] = max(peaks[kind], under_way.count(kind))
        try:
            return await enter(storage, method, store, name)
        finally:
            under_way.remove(kind)

    monkeypatch.setattr(FakeStorage, "enter", noted)
    outcome = await sim.service.purge(DeadLetterFilter(batch_id="b", limit=39))

    assert outcome.count == 39
    assert [letter["index"] for letter in sim.letters("b/")] == [39]
    assert (peaks["blobs.read deadletters"], peaks["blobs.read results"], peaks["blobs.write results"]) == (16, 16, 16)


async def test_a_second_replay_finds_nothing_to_do() -> None:
    sim = await failed_batch()
    wanted = DeadLetterFilter(batch_id="b")

    first = await sim.service.replay(wanted)
    second = await sim.service.replay(wanted)  # before the first one's message was worked off
    await sim.drain()
    third = await sim.service.replay(wanted)
    await sim.drain()

    assert [outcome.count for outcome in (first, second, third)] == [2, 0, 0]
    assert sim.summary("b")["round"] == 1
    check_invariants(sim, "b", URLS)


async def test_a_replayed_item_that_fails_again_keeps_its_history() -> None:
    sim = await failed_batch()
    sim.scorer.script[URLS[1]] = [ImageNotFound()]

    await sim.service.replay(DeadLetterFilter(batch_id="b"))
    await sim.drain()

    check_invariants(sim, "b", URLS)
    (letter,) = sim.letters("b/")
    assert (letter["index"], letter["attempts"], letter["round"]) == (1, 2, 1)
    (past,) = letter["history"]
    assert (past["round"], past["code"], past["attempts"]) == (0, "image_not_found", 1)


async def test_replay_by_code_time_and_limit() -> None:
    sim = await failed_batch()
    now = sim.storage.clock.now()

    dry = await sim.service.replay(DeadLetterFilter(), dry_run=True)
    later = await sim.service.replay(DeadLetterFilter(since=now + timedelta(hours=1)), dry_run=True)
    one = await sim.service.replay(DeadLetterFilter(limit=1), dry_run=True)
    await sim.service.replay(DeadLetterFilter(code="image_invalid"))
    await sim.drain()

    assert [dry.count, later.count, one.count] == [2, 0, 1]
    rows = check_invariants(sim, "b", URLS)
    assert [row["index"] for row in rows if row["status"] == "failed"] == [1]


async def test_a_replay_while_the_batch_runs_is_merged() -> None:
    sim = Simulation(ScriptedScorer({URLS[0]: [ImageNotFound()], URLS[6]: [OriginUnavailable()]}))
    sim.drop(manifest("b", URLS))
    for _ in range(4):  # the manifest and all three shards
        await sim.step()
    assert (await sim.service.status("b")).as_dict() | {"links": {}} == {
        "batch_id": "b",
        "state": "running",
        "total": 7,
        "succeeded": 5,
        "failed": 1,
        "pending": 1,
        "errors": {"image_not_found": 1},
        "created_at": "2026-01-01T00:00:00+00:00",
        "updated_at": "2026-01-01T00:00:00+00:00",
        "round": 0,
        "model": "digits",
        "version": "1",
        "links": {},
    }

    outcome = await sim.service.replay(DeadLetterFilter(batch_id="b"))
    await sim.drain()

    assert outcome.count == 1
    assert all(row["status"] == "succeeded" for row in check_invariants(sim, "b", URLS))
    assert sim.summary("b")["round"] == 1


async def test_a_journal_whose_message_was_never_sent_is_carried_on_by_the_next_replay() -> None:
    sim = await failed_batch()
    await sim.service.replay(DeadLetterFilter(batch_id="b"))
    received = sim.queue(QueueName.FINISH).receive()
    assert received
    sim.queue(QueueName.FINISH).delete(received)  # as if the process had died before it sent the message

    outcome = await sim.service.replay(DeadLetterFilter(batch_id="b"))
    await sim.drain()

    assert outcome.count == 0
    assert sim.summary("b")["round"] == 1
    check_invariants(sim, "b", URLS)


async def test_a_replay_that_the_batch_itself_carried_on_survives_a_crash() -> None:
    # The replay died before it sent its message; the batch's own finish message finds the journal, and dies too.
    sim = Simulation(ScriptedScorer({URLS[0]: [ImageNotFound()]}))
    sim.drop(manifest("b", URLS))
    for _ in range(4):
        await sim.step()
    await sim.service.replay(DeadLetterFilter(batch_id="b"))
    finish = sim.queue(QueueName.FINISH)
    sent = finish.receive()
    assert sent
    assert orjson.loads(sent.body)["round"] == 1
    finish.delete(sent)

    def die_when_applied(call: Call) -> None:
        if call.name.endswith(".applied"):
            sim.storage.crash_before(0)
            raise Crash

    sim.storage.after_call = die_when_applied
    await sim.drain()

    assert sim.crashes == 1
    assert all(row["status"] == "succeeded" for row in check_invariants(sim, "b", URLS))


async def lose_a_replay() -> Simulation:
    """Return a batch `b` under way, with a replay whose process died before it sent its message."""
    sim = Simulation(ScriptedScorer({URLS[0]: [ImageNotFound()], URLS[6]: [OriginUnavailable()] * 2}))
    sim.drop(manifest("b", URLS))
    for _ in range(4):
        await sim.step()
    break_calls(sim, "queue.send", QueueName.FINISH, 1)
    with pytest.raises(StorageUnavailable):
        await sim.service.replay(DeadLetterFilter(batch_id="b"))
    return sim


async def test_a_lost_replay_that_the_message_of_a_cancel_carries_on_comes_to_its_end() -> None:
    sim = await lose_a_replay()
    await sim.service.cancel("b")
    await sim.drain()

    assert sim.summary("b")["round"] == 1
    check_invariants(sim, "b", URLS)


async def test_a_lost_replay_survives_the_poison_queue() -> None:
    sim = await lose_a_replay()
    break_calls(sim, "queue.send", QueueName.FINISH, 5)
    await sim.drain()

    assert sim.deliveries[layout.poison(QueueName.FINISH)] == 1
    assert all(row["status"] == "succeeded" for row in check_invariants(sim, "b", URLS))


async def test_purged_dead_letters_are_gone_and_their_rows_stay_failed() -> None:
    sim = await failed_batch()

    outcome = await sim.service.purge(DeadLetterFilter(code="image_not_found"))
    replayed = await sim.service.replay(DeadLetterFilter())
    await sim.drain()

    assert (outcome.count, replayed.count) == (1, 1)
    assert [row["index"] for row in sim.rows("b") if row["status"] == "failed"] == [1]
    assert not sim.letters("b/")


async def test_a_dry_purge_changes_nothing() -> None:
    sim = await failed_batch()
    before = dict(sim.storage.blobs("deadletters").contents)

    outcome = await sim.service.purge(DeadLetterFilter(), dry_run=True)

    assert outcome.count == 2
    assert dict(sim.storage.blobs("deadletters").contents) == before


async def test_dead_letters_are_listed_page_by_page() -> None:
    sim = await failed_batch()
    await sim.run(b"{}")
    await sim.run(manifest("c", URLS[1:2], model="missing"))

    found, token = [], None
    while True:
        page = await sim.service.list_dead_letters(DeadLetterFilter(limit=1, after=token))
        found += page.records
        token = page.next
        if token is None:
            break

    assert [(letter["kind"], letter["code"]) for letter in found] == [
        ("message", "invalid_manifest"),
        ("message", "model_not_found"),
        ("item", "image_not_found"),
        ("item", "image_invalid"),
    ]


async def test_failed_items_are_exported_as_a_manifest_with_their_real_urls() -> None:
    urls = images(4, secret=True)
    sim = Simulation(ScriptedScorer({urls[3]: [ImageNotFound()]}))
    await sim.run(manifest("b", urls))

    lines = b"".join([chunk async for chunk in sim.service.export(DeadLetterFilter())]).splitlines()

    assert [orjson.loads(line) for line in lines] == [{"id": "3", "url": urls[3]}]


async def test_a_cancelled_batch_ends_what_was_not_scored_and_a_replay_resumes_it() -> None:
    sim = Simulation()
    sim.drop(manifest("b", URLS))
    await sim.step()
    await sim.step()

    status = await sim.service.cancel("b")
    await sim.drain()

    assert status.state is BatchState.RUNNING
    rows = check_invariants(sim, "b", URLS)
    assert [row["status"] for row in rows] == ["succeeded"] * 3 + ["failed"] * 4
    assert sim.summary("b") | {"errors": None} == sim.summary("b") | {"errors": None, "state": "cancelled"}
    assert sim.scorer.attempts.total() == 3
    await sim.service.replay(DeadLetterFilter(batch_id="b", code="batch_cancelled"))
    await sim.drain()
    assert all(row["status"] == "succeeded" for row in check_invariants(sim, "b", URLS))
    assert sim.summary("b")["state"] == "succeeded"


async def test_cancel_takes_effect_in_the_middle_of_a_shard() -> None:
    ticks = itertools.count(0, 2)  # each look at the monotonic clock is two seconds after the last
    sim = Simulation(monotonic=lambda: float(next(ticks)))
    urls = images(40)
    sim.drop(manifest("b", urls, mini_batch_size=40))
    await sim.step()

    async def cancel_at_third(url: str) -> None:
        if sim.scorer.attempts.total() == 3:
            await sim.service.cancel("b")

    sim.scorer.before_async = cancel_at_third
    await sim.drain()

    # The other taker goes on while the cancel itself makes its few calls; no item is begun after that.
    rows = check_invariants(sim, "b", urls)
    assert 3 <= sum(row["status"] == "succeeded" for row in rows) < 15
    assert sim.summary("b")["state"] == "cancelled"


async def test_cancel_reaches_rows_in_back_off_before_their_delay_ends() -> None:
    sim = Simulation(ScriptedScorer({URLS[0]: [OriginUnavailable(retry_after_seconds=300)]}))
    sim.drop(manifest("b", URLS[:2]))
    await sim.step()
    await sim.step()

    await sim.service.cancel("b")
    await sim.drain()

    assert sim.rows("b")[0]["error"]["code"] == "batch_cancelled"
    ended = next(event for event in sim.events())["ended_at"]
    assert ended < "2026-01-01T00:01:00"


async def test_a_batch_that_has_ended_cannot_be_cancelled_any_more() -> None:
    sim = await failed_batch()

    status = await sim.service.cancel("b")

    assert status.state is BatchState.SUCCEEDED
    assert not any(layout.stops("b") in name for name in sim.storage.blobs("manifests").contents)


async def test_a_batch_that_fails_too_much_ends_early_and_cheaply() -> None:
    urls = images(30)
    sim = Simulation(ScriptedScorer({url: [ImageNotFound()] for url in urls}))

    await sim.run(manifest("b", urls, error_threshold=2))

    rows = check_invariants(sim, "b", urls)
    assert sim.summary("b")["state"] == "failed"
    assert sim.scorer.attempts.total() == 3
    assert rows[-1]["error"]["code"] == "error_threshold_exceeded"


async def test_a_batch_below_its_threshold_succeeds_with_failed_rows() -> None:
    sim = await failed_batch(error_threshold=2)

    assert sim.summary("b")["state"] == "succeeded"
    assert sim.summary("b")["failed"] == 2


async def test_results_of_a_batch_that_runs_or_is_unknown_are_not_there() -> None:
    sim = Simulation()
    sim.drop(manifest("b", URLS))
    await sim.step()

    with pytest.raises(NotFound, match="no results yet"):
        await anext(aiter(sim.service.results("b")))
    with pytest.raises(BatchNotFound):
        await anext(aiter(sim.service.results("unknown")))
    with pytest.raises(BatchNotFound):
        await sim.service.status("../x")


async def test_results_of_a_batch_that_waits_or_was_refused_are_not_there_but_the_batch_is() -> None:
    sim = Simulation()
    await sim.run({"batch_id": "refused", "manifest": "nothing.jsonl"})
    await sim.service.submit(orjson.dumps(manifest("waiting", URLS)))

    for batch_id in ("waiting", "refused"):
        with pytest.raises(NotFound, match="no results yet"):
            await anext(aiter(sim.service.results(batch_id)))


async def test_results_as_a_table_begin_no_formula() -> None:
    sim = Simulation()
    ids = ["=1+1", 'a,"b"', "\uff1d1+1"]
    await sim.run(manifest("b", [{"id": id_, "url": url} for id_, url in zip(ids, URLS, strict=False)]))

    table = b"".join([chunk async for chunk in sim.service.results("b", is_table=True)]).decode()

    lines = table.split("\r\n")
    assert lines[0].startswith("index,id,url,status,label,score")
    assert lines[1].startswith("0,'=1+1,https://images.example/0.jpg,succeeded,0.jpg,0.5,digits,1,1,,,")
    assert lines[2].startswith('1,"a,""b""",')
    assert lines[3].startswith("2,'\uff1d1+1,")


async def test_batches_are_listed_the_newest_first() -> None:
    sim = Simulation()
    await sim.run(manifest("z-first", URLS[:1]))
    sim.storage.clock.advance(60)
    await sim.run(manifest("a-second", URLS[:1]))
    sim.storage.clock.advance(60)
    await sim.service.submit(orjson.dumps(manifest("m-third", URLS[:1])))

    found = await sim.service.list_batches(2)

    assert [(status.batch_id, status.state) for status in found] == [("m-third", "queued"), ("a-second", "succeeded")]


async def test_a_manifest_of_the_queue_that_was_refused_is_listed_until_it_is_purged() -> None:
    sim = Simulation()
    await sim.run(manifest("good", URLS[:1]))
    sim.storage.clock.advance(60)
    await sim.run({"batch_id": "refused", "manifest": "nothing.jsonl"})
    await sim.run({"batch_id": "NO ID", "images": URLS})

    found = await sim.service.list_batches()
    assert [(status.batch_id, status.state) for status in found] == [("refused", "failed"), ("good", "succeeded")]
    assert found[0].error is not None
    assert found[0].error["code"] == "manifest_not_found"

    await sim.service.purge(DeadLetterFilter(batch_id="refused"))
    assert [status.batch_id for status in await sim.service.list_batches()] == ["good"]


async def test_status_takes_a_bounded_number_of_calls_whatever_the_number_of_shards() -> None:
    sim = Simulation()
    sim.drop(manifest("b", images(200), mini_batch_size=1))
    for _ in range(100):
        await sim.step()
    sim.storage.restart()
    sim.start()

    status = await sim.service.status("b")

    assert (status.succeeded, status.pending) == (99, 101)
    assert len(sim.storage.calls) <= 4


async def test_the_limit_of_an_export_holds_for_all_batches_together() -> None:
    sim = await failed_batch()
    sim.scorer.script = {URLS[2]: [ImageNotFound()]}
    await sim.run(manifest("c", URLS))
    assert len(sim.letters("c/")) == 1

    chunks = [chunk async for chunk in sim.service.export(DeadLetterFilter(limit=1))]

    assert b"".join(chunks).count(b"\n") == 1
