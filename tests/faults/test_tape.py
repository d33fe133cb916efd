"""The tape has what Azurite did and never said, at the latest moment at which it may have been done."""

from __future__ import annotations

import base64

from tests.faults.tape import Call, Tape

PART = "/devstoreaccount1/results/b/parts/00000.jsonl"
LISTING = "/devstoreaccount1/results?restype=container&comp=list&prefix=b%2Fparts%2F&include=metadata"
LISTED = b"""<EnumerationResults><Blobs><Blob><Name>b/parts/00000.jsonl</Name>
<Properties><Etag>0x1</Etag></Properties><Metadata><pending>0</pending></Metadata></Blob></Blobs></EnumerationResults>"""
MESSAGES = "/devstoreaccount1/queue/batch-shards/messages"
TEXT = base64.b64encode(b'{"batch_id":"b","shard":0}').decode()


def message_list(*parts: str) -> bytes:
    return f"<QueueMessagesList><QueueMessage>{''.join(parts)}</QueueMessage></QueueMessagesList>".encode()


def methods(tape: Tape) -> list[tuple[str, int]]:
    return [(call.method, call.status) for call in tape.about("b")]


def begin_write(tape: Tape) -> Call:
    return tape.begin("blob", "", "PUT", PART, {"x-ms-meta-pending": "0"}, b"")


def test_a_write_without_an_answer_stands_before_the_read_that_shows_it() -> None:
    tape = Tape()
    begin_write(tape)
    read = tape.begin("blob", "", "GET", PART, {}, b"")
    tape.end(read, 200, {"ETag": '"0x1"', "X-MS-Meta-Pending": "0"}, b"")

    assert methods(tape) == [("PUT", 201), ("GET", 200)]
    write = tape.about("b")[0]
    assert (write.name, write.metadata, write.is_whole_write) == ("results/b/parts/00000.jsonl", {"pending": "0"}, True)
    assert tape.written == {"results/b/parts/00000.jsonl"}


def test_a_write_without_an_answer_stands_before_the_listing_that_shows_it() -> None:
    tape = Tape()
    tape.end(tape.begin("blob", "", "GET", LISTING, {}, b""), 200, {}, LISTED)

    (write,) = tape.about("b")
    assert (write.name, write.metadata, write.is_whole_write) == ("results/b/parts/00000.jsonl", {"pending": "0"}, True)


def test_a_write_that_is_answered_after_it_was_read_is_one_write() -> None:
    tape = Tape()
    write = begin_write(tape)
    tape.end(tape.begin("blob", "", "GET", PART, {}, b""), 200, {"ETag": '"0x1"'}, b"")
    tape.end(write, 201, {"ETag": '"0x1"'}, b"")

    assert methods(tape) == [("PUT", 201), ("GET", 200)]


def test_what_is_known_is_not_written_again_by_a_read() -> None:
    tape = Tape()
    tape.end(begin_write(tape), 201, {"ETag": '"0x1"'}, b"")
    tape.end(tape.begin("blob", "", "GET", PART, {}, b""), 200, {"ETag": '"0x1"'}, b"")
    tape.end(tape.begin("blob", "", "GET", LISTING, {}, b""), 200, {}, LISTED)
    tape.end(begin_write(tape), 412, {}, b"")
    tape.end(tape.begin("blob", "", "GET", PART, {}, b""), 404, {}, b"")

    assert methods(tape) == [("PUT", 201), ("GET", 200), ("PUT", 412), ("GET", 404)]


def test_a_write_that_a_late_answer_shows_stands_before_the_one_that_replaced_it() -> None:
    tape = Tape()
    tape.begin("blob", "", "PUT", PART, {"x-ms-meta-pending": "1"}, b"")
    read = tape.begin("blob", "", "GET", PART, {}, b"")
    tape.end(begin_write(tape), 201, {"ETag": '"0x2"'}, b"")
    tape.end(read, 200, {"ETag": '"0x1"', "x-ms-meta-pending": "1"}, b"")

    assert [call.metadata.get("pending") for call in tape.about("b")] == ["1", "0", None]
    assert tape.calls == tape.about("b") == sorted(tape.calls, key=lambda call: call.number)


def test_a_send_without_an_answer_stands_before_the_receive_that_shows_it() -> None:
    tape = Tape()
    body = f"<QueueMessage><MessageText>{TEXT}</MessageText></QueueMessage>".encode()
    send = tape.begin("queue", "", "POST", MESSAGES, {}, body)
    received = message_list("<MessageId>1</MessageId>", f"<MessageText>{TEXT}</MessageText>")
    tape.end(tape.begin("queue", "", "GET", MESSAGES, {}, b""), 200, {}, received)
    tape.end(send, 201, {}, message_list("<MessageId>1</MessageId>"))

    assert methods(tape) == [("POST", 201)]
    assert [call.received for call in tape.calls if call.method == "GET"] == [['{"batch_id":"b","shard":0}']]


def test_two_blobs_that_azurite_gave_the_same_etag_are_two_writes() -> None:
    tape = Tape()
    other = tape.begin("blob", "", "PUT", PART.replace("00000", "00001"), {"x-ms-meta-pending": "0"}, b"")
    tape.end(other, 201, {"ETag": '"0x1"'}, b"")
    tape.end(begin_write(tape), 201, {"ETag": '"0x1"'}, b"")

    assert methods(tape) == [("PUT", 201), ("PUT", 201)]
