"""The host's side of the fake queue, and the hooks by which tests crash the product between two calls."""

from __future__ import annotations

import pytest

from tests.fakes import HOST_LEASE_SECONDS, Crash, FakeStorage, MessageGone


@pytest.fixture
def storage() -> FakeStorage:
    return FakeStorage()


async def test_a_received_message_is_hidden_until_its_lease_ends(storage: FakeStorage) -> None:
    queue = storage.queue("q")
    await queue.send(b"x")

    first = queue.receive()

    assert first is not None
    assert (first.body, first.dequeue_count) == (b"x", 1)
    storage.clock.advance(HOST_LEASE_SECONDS - 1)
    assert queue.receive() is None
    storage.clock.advance(1)
    second = queue.receive()
    assert second is not None
    assert (second.id, second.dequeue_count) == (first.id, 2)


async def test_only_the_last_holder_can_delete(storage: FakeStorage) -> None:
    queue = storage.queue("q")
    await queue.send(b"x")
    first = queue.receive(lease_seconds=0)
    second = queue.receive()
    assert first is not None
    assert second is not None

    with pytest.raises(MessageGone):
        queue.delete(first)
    renewed = queue.renew(second)
    with pytest.raises(MessageGone):
        queue.release(second)
    queue.delete(renewed)

    with pytest.raises(MessageGone):
        queue.delete(renewed)
    assert queue.bodies == []


async def test_a_released_message_comes_back_after_its_delay(storage: FakeStorage) -> None:
    queue = storage.queue("q")
    await queue.send(b"x", delay_seconds=0.5)
    assert queue.receive() is None
    storage.clock.advance(1)
    received = queue.receive()
    assert received is not None

    queue.release(received, delay_seconds=30)

    assert queue.receive() is None
    assert queue.next_visible_at is not None
    storage.clock.advance((queue.next_visible_at - storage.clock.now()).total_seconds())
    again = queue.receive()
    assert again is not None
    assert again.dequeue_count == 2


async def test_a_poison_copy_is_the_bare_body(storage: FakeStorage) -> None:
    queue = storage.queue("q")
    await queue.send(b"x")
    received = queue.receive()
    assert received is not None

    poison = queue.move_to_poison(received)

    copy = poison.receive()
    assert copy is not None
    assert poison is storage.queue("q-poison")
    assert (copy.body, copy.dequeue_count) == (b"x", 1)
    assert copy.id != received.id
    assert queue.bodies == []


async def test_a_crash_before_a_call_leaves_its_work_undone(storage: FakeStorage) -> None:
    storage.crash_before(2)
    await storage.blobs("c").write("a", b"1")

    with pytest.raises(Crash):
        await storage.blobs("c").write("b", b"2")
    with pytest.raises(Crash):  # the dead do nothing more
        await storage.queue("q").send(b"x")

    assert storage.blobs("c").contents == {"a": b"1"}
    storage.restart()
    await storage.blobs("c").write("b", b"2")
    assert storage.blobs("c").contents == {"a": b"1", "b": b"2"}
    assert [call.number for call in storage.calls] == [1]


async def test_a_crash_after_a_call_leaves_its_work_done(storage: FakeStorage) -> None:
    storage.crash_after(2)
    await storage.blobs("c").write("a", b"1")

    with pytest.raises(Crash):
        await storage.queue("q").send(b"x")
    with pytest.raises(Crash):
        await storage.blobs("c").read("a")

    assert storage.queue("q").bodies == [b"x"]


async def test_an_error_of_storage_can_be_put_in_the_place_of_any_reply(storage: FakeStorage) -> None:
    def lose_reply_of_writes(call: object) -> None:
        if getattr(call, "method", "") == "blobs.write":
            raise ConnectionResetError

    storage.after_call = lose_reply_of_writes

    with pytest.raises(ConnectionResetError):
        await storage.blobs("c").write("a", b"1")

    assert (await storage.blobs("c").read("a")).data == b"1"


async def test_blobs_are_dated_by_the_clock(storage: FakeStorage) -> None:
    storage.clock.advance(3600)

    await storage.blobs("c").write("a", b"1")

    properties = await storage.blobs("c").properties("a")
    assert properties is not None
    assert properties.last_modified == storage.clock.now()


@pytest.mark.parametrize("metadata", [{"Upper": "1"}, {"a-b": "1"}, {"a": "ä"}, {"a": "line\nbreak"}])
async def test_metadata_that_no_header_carries_is_refused(storage: FakeStorage, metadata: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="metadata"):
        await storage.blobs("c").write("a", b"1", metadata=metadata)
