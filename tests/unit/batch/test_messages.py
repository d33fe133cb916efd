from __future__ import annotations

from typing import Any

import orjson
import pytest

from inference.batch.layout import is_batch_id
from inference.batch.messages import FinishMessage, ManifestMessage, ShardMessage, read_json
from inference.errors import InvalidManifest, InvalidMessage

TRACE = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
SHARD = ShardMessage(batch_id="b", shard=3, offset=10, bytes=20, first=30, count=4, round=1, turn=2, traceparent=TRACE)
FULL: dict[str, Any] = {
    "v": 1,
    "batch_id": "a-batch",
    "model": "digits:1",
    "images": ["https://a.example/1", {"id": "x", "url": "https://a.example/2"}],
    "parameters": {"top_k": 3},
    "mini_batch_size": 10,
    "error_threshold": 0,
    "max_retries": 2,
    "callback_url": "https://hooks.example/done",
}


def test_a_manifest_message_survives_the_wire() -> None:
    message = ManifestMessage.decode(orjson.dumps(FULL))

    assert ManifestMessage.decode(message.encode()) == message


@pytest.mark.parametrize(
    "message", [SHARD, FinishMessage(batch_id="b", round=2, delay_seconds=1.5, done=7, told_stop=0, is_errand=True)]
)
def test_a_work_message_survives_the_wire(message: ShardMessage | FinishMessage) -> None:
    assert type(message).decode(message.encode()) == message


def test_a_work_message_of_a_later_release_is_read() -> None:
    later = {**orjson.loads(SHARD.encode()), "brand_new": 1}

    assert ShardMessage.decode(orjson.dumps(later)) == SHARD


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"batch_id": "Upper"},
        {"batch_id": "../../x"},
        {"batch_id": None},
        {"count": 0},
        {"offset": -1},
        {"shard": "3"},
        {"traceparent": "00-zz"},
        {"delay_seconds": -1},
    ],
)
def test_a_work_message_that_is_not_ours_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage):
        ShardMessage.decode(orjson.dumps({**orjson.loads(SHARD.encode()), **changes}))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"v": 2}, "v: "),
        ({"images": []}, "images: "),
        ({"images": None}, "Exactly one of images and manifest"),
        ({"manifest": "x"}, "Exactly one of images and manifest"),
        ({"colour": 1}, "colour: unknown key"),
        ({"batch_id": "a_b"}, "batch_id: "),
        ({"batch_id": 7}, "batch_id: "),
        ({"mini_batch_size": 0}, "mini_batch_size: "),
        ({"mini_batch_size": "10"}, "mini_batch_size: "),
        ({"mini_batch_size": 10_001}, "mini_batch_size: "),
        ({"error_threshold": -2}, "error_threshold: "),
        ({"max_retries": -1}, "max_retries: "),
        ({"parameters": []}, "parameters: "),
        ({"model": ""}, "model: "),
    ],
)
def test_a_manifest_message_is_refused_by_the_name_of_its_field(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidManifest) as raised:
        ManifestMessage.decode(orjson.dumps({**FULL, **changes}))

    assert raised.value.message.startswith(problem)
    assert raised.value.message.endswith(".")


@pytest.mark.parametrize(
    "body",
    [
        b'{"images": ["https://a.example/1"], "parameters": {"a": Infinity}}',
        b'{"images": ["https://a.example/1"], "parameters": {"a": 1, "a": 2}}',
        b'{"images": ["\\ud800"]}',
        b'{"images": ["https://a.example/1"], "parameters": {"a": 123456789012345678901234567890}}',
        b'{"images": ["https://a.example/1"], "parameters": ' + b'{"a":' * 25 + b"1" + b"}" * 25 + b"}",
        b"\xff",
        b"",
        b"null",
    ],
)
def test_json_that_cannot_be_kept_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidManifest):
        ManifestMessage.decode(body)


def test_the_key_of_a_message_depends_on_what_is_asked_alone() -> None:
    message = ManifestMessage.of(FULL)
    again = message.changed(batch_id="other", traceparent=TRACE)

    assert again.key == message.key
    assert message.changed(error_threshold=1).key != message.key
    assert message.changed(images=["https://a.example/1"]).key != message.key


@pytest.mark.parametrize("name", [name for name in ManifestMessage.__struct_fields__ if name != "images"])
def test_a_null_is_what_is_not_there(name: str) -> None:
    plain = {"images": ["https://a.example/1"]}

    assert ManifestMessage.of({**plain, name: None}) == ManifestMessage.of(plain)
    with pytest.raises(InvalidManifest, match="surprise: unknown key"):
        ManifestMessage.of({**plain, "surprise": None})


def test_a_refusal_does_not_repeat_the_value() -> None:
    with pytest.raises(InvalidManifest) as raised:
        ManifestMessage.of({**FULL, "model": ["https://host/?sig=canary"]})

    assert "canary" not in raised.value.message


@pytest.mark.parametrize("text", ["a", "0", "a-b", "m-0a1b", "x" * 63])
def test_ids_of_the_contract_are_taken(text: str) -> None:
    assert is_batch_id(text)


@pytest.mark.parametrize(
    "text", ["", "-a", "A", "a_b", "a.b", "a/b", "a\\b", "ä", "a\n", "a\0", "x" * 64, "_batch", ".."]
)
def test_other_ids_are_not(text: str) -> None:
    assert not is_batch_id(text)


@pytest.mark.parametrize("digits", [21, 5000])
def test_a_number_of_thousands_of_digits_is_refused_in_words_of_the_manifest(digits: int) -> None:
    with pytest.raises(InvalidManifest, match=r"^A whole number has more than 64 bits\.$"):
        read_json(b'{"max_retries": ' + b"9" * digits + b"}")
    assert read_json(f"[{-(2**63)}, {2**64 - 1}]".encode()) == [-(2**63), 2**64 - 1]
