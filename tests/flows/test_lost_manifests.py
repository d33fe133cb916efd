"""A batch whose own copy of its manifest is deleted or changed under it: it ends, and every item says why."""

from __future__ import annotations

from typing import Any

import pytest

from inference.batch.layout import ContainerName, QueueName
from inference.batch.selection import DeadLetterFilter
from inference.errors import ImageNotFound, ManifestNotFound, OriginUnavailable
from tests.flows.invariants import check_invariants
from tests.flows.simulation import ScriptedScorer, Simulation, images, manifest


def names(sim: Simulation, what: str) -> list[str]:
    """Return the blobs of the batch `b` that hold its copy of the manifest, or the table of where shards begin."""
    return [name for name in sim.storage.blobs(ContainerName.MANIFESTS).contents if f"_data/b/{what}-" in name]


async def delete(sim: Simulation, *whats: str) -> None:
    """Delete what an operator, or a rule that cleans up, might."""
    sim.storage.after_call = sim.storage.before_call = lambda _call: None
    for what in whats:
        for name in names(sim, what):
            await sim.storage.blobs(ContainerName.MANIFESTS).delete(name)


async def change(sim: Simulation) -> None:
    """Write other items over the copy."""
    for name in names(sim, "manifest"):
        other = b'{"id":"x","url":"https://elsewhere.example/x.jpg"}\n' * 20
        await sim.storage.blobs(ContainerName.MANIFESTS).write(name, other)


def codes(rows: list[dict[str, Any]]) -> list[str]:
    """Return what became of each row."""
    return [row["error"]["code"] if row["status"] == "failed" else "ok" for row in rows]


@pytest.mark.parametrize("damage", ["deleted", "deleted with its table", "changed"])
async def test_items_that_nobody_knows_any_more_are_failed_rows_by_index_and_the_batch_completes(damage: str) -> None:
    sim = Simulation()
    sim.drop(manifest("b", images(7)))
    await sim.step()
    if damage == "changed":
        await change(sim)
    else:
        await delete(sim, *(["manifest", "shards"] if "table" in damage else ["manifest"]))

    await sim.drain()

    rows = check_invariants(sim, "b", [""] * 7)
    assert codes(rows) == ["manifest_not_found"] * 7
    assert [(row["id"], row["attempts"], row["error"]["retryable"]) for row in rows] == [
        (str(index), 0, False) for index in range(7)
    ]
    assert "manifest was deleted or changed" in rows[0]["error"]["message"]
    assert sim.summary("b")["errors"] == {"manifest_not_found": 7}
    assert sim.buried() == []
    assert not sim.scorer.attempts


async def test_rows_that_were_scored_stand_and_those_in_back_off_keep_their_names() -> None:
    urls = images(7)
    sim = Simulation(ScriptedScorer({urls[1]: [OriginUnavailable()] * 9}))

    async def damage(url: str) -> None:
        if url == urls[2]:  # the first shard is being scored, the others were not begun
            await delete(sim, "manifest")

    sim.scorer.before_async = damage

    await sim.run(manifest("b", [{"id": f"photo {index}", "url": url} for index, url in enumerate(urls)]))

    rows = check_invariants(sim, "b", [*urls[:3], *[""] * 4])
    assert codes(rows) == ["ok", "manifest_not_found", "ok", *["manifest_not_found"] * 4]
    assert [row["id"] for row in rows] == ["photo 0", "photo 1", "photo 2", "3", "4", "5", "6"]
    assert rows[1]["attempts"] == 1


async def test_a_cancelled_batch_without_its_manifest_ends_as_cancelled() -> None:
    sim = Simulation()
    sim.drop(manifest("b", images(4)))
    await sim.step()
    await delete(sim, "manifest", "shards")
    await sim.service.cancel("b")

    await sim.drain()

    assert codes(check_invariants(sim, "b", [""] * 4)) == ["batch_cancelled"] * 4


async def test_more_lost_items_than_the_threshold_allows_end_the_batch_as_failed() -> None:
    sim = Simulation()
    sim.drop(manifest("b", images(9), error_threshold=2))
    await sim.step()
    await delete(sim, "manifest")

    await sim.drain()

    rows = check_invariants(sim, "b", [""] * 9)
    assert {*codes(rows)} <= {"manifest_not_found", "error_threshold_exceeded"}
    assert sim.summary("b")["state"] == "failed"


async def test_a_replay_after_the_manifest_was_cleaned_up_ends_with_the_first_reason_in_the_history() -> None:
    urls = images(5)
    sim = Simulation(ScriptedScorer({urls[0]: [ImageNotFound()], urls[4]: [ImageNotFound()]}))
    await sim.run(manifest("b", urls))
    await delete(sim, "manifest", "shards")

    outcome = await sim.service.replay(DeadLetterFilter(batch_id="b"), dry_run=False)
    await sim.drain()

    assert outcome.count == 2
    rows = check_invariants(sim, "b", urls)
    assert codes(rows) == ["manifest_not_found", "ok", "ok", "ok", "manifest_not_found"]
    assert sim.summary("b")["round"] == 1
    assert [letter["history"][0]["code"] for letter in sim.letters("b/")] == ["image_not_found"] * 2


async def test_a_table_of_shards_that_was_deleted_alone_is_made_again_and_nothing_fails() -> None:
    urls = images(5)
    sim = Simulation(ScriptedScorer({urls[0]: [ImageNotFound()], urls[4]: [ImageNotFound()]}))
    await sim.run(manifest("b", urls))

    await delete(sim, "shards")
    exported = [line async for line in sim.service.export(DeadLetterFilter(batch_id="b"))]
    assert [urls[0].encode() in exported[0], urls[4].encode() in exported[-1]] == [True, True]
    await delete(sim, "shards")
    await sim.service.replay(DeadLetterFilter(batch_id="b"))
    await sim.drain()

    assert codes(check_invariants(sim, "b", urls)) == ["ok"] * 5


async def test_an_export_without_the_manifest_says_why_and_names_the_batch() -> None:
    urls = images(2)
    sim = Simulation(ScriptedScorer({urls[0]: [ImageNotFound()]}))
    await sim.run(manifest("b", urls))
    await delete(sim, "manifest", "shards")

    with pytest.raises(ManifestNotFound, match="batch b"):
        _ = [line async for line in sim.service.export(DeadLetterFilter(batch_id="b"))]


async def test_every_crash_while_lost_items_are_ended_leaves_each_with_one_row() -> None:
    for number in range(1, 100):
        sim = Simulation()
        sim.drop(manifest("b", images(4)))
        await sim.step()
        await delete(sim, "manifest")
        sim.storage.restart()
        sim.storage.crash_after(number)

        await sim.drain()

        assert codes(check_invariants(sim, "b", [""] * 4)) == ["manifest_not_found"] * 4
        if not sim.crashes:
            return
    raise AssertionError("it never ran without a crash")


async def test_a_worker_that_still_knew_the_items_and_one_that_did_not_make_one_part() -> None:
    """The first has read its piece of the manifest when it goes; the other one meets a piece of the same shard."""
    urls = images(3)
    sim = Simulation()
    sim.drop(manifest("b", urls))
    await sim.step()
    (message,) = sim.queue(QueueName.SHARDS).bodies

    async def meet_the_other(url: str) -> None:
        if url == urls[0]:
            sim.scorer.before_async = _nothing
            await delete(sim, "manifest")
            piece = message.replace(b'"first":0,"count":3', b'"first":2,"count":1')
            sim.queue(QueueName.SHARDS).put(piece)
            received = sim.queue(QueueName.SHARDS).receive()
            assert received is not None
            await sim.deliver(QueueName.SHARDS, received)

    sim.scorer.before_async = meet_the_other
    await sim.drain()

    rows = check_invariants(sim, "b", [*urls[:2], ""])
    assert codes(rows) == ["ok", "ok", "manifest_not_found"]


async def _nothing(_url: str) -> None:
    return
