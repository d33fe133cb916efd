"""`onnxfn batch submit --storage` against Azurite: what it leaves for the service to find."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueClient

from tests.unit.cli.service import Program, Service, refusal

LINES = b"https://h/1.png\nhttps://h/2.png\n"


class Account:
    """The containers and queues that the program wrote to."""

    def __init__(self, connection_string: str) -> None:
        self.connection_string = connection_string
        self._queue = QueueClient.from_connection_string(connection_string, "batch-manifests")
        self._blobs = BlobServiceClient.from_connection_string(connection_string)

    def take_messages(self) -> list[Any]:
        """Take the messages off the queue, decoded as the Functions host does it."""
        messages = []
        with suppress(ResourceNotFoundError):  # no test has sent one yet
            for message in self._queue.receive_messages():
                messages.append(json.loads(base64.b64decode(message.content)))
                self._queue.delete_message(message)
        return messages

    def read_blob(self, name: str) -> bytes:
        return self._blobs.get_blob_client("manifests", name).download_blob().readall()

    def write_blob(self, name: str, data: bytes) -> None:
        with suppress(ResourceExistsError):
            self._blobs.create_container("manifests")
        self._blobs.get_blob_client("manifests", name).upload_blob(data)

    def blob_names(self, prefix: str) -> list[str]:
        return list(self._blobs.get_container_client("manifests").list_blob_names(name_starts_with=prefix))

    def close(self) -> None:
        self._queue.close()
        self._blobs.close()


@pytest.fixture
def account(azurite: str) -> Iterator[Account]:
    account = Account(azurite)
    yield account
    account.close()


def test_lines_become_a_blob_and_a_message_that_points_to_it(
    onnxfn: Program, service: Service, account: Account, tmp_path: Path
) -> None:
    path = tmp_path / "My Scans.jsonl"
    path.write_bytes(LINES)

    done = onnxfn("batch", "submit", str(path), "--storage", account.connection_string, "--model", "digits", "--json")

    (message,) = account.take_messages()
    assert done.json == {"batch_id": message["batch_id"]}
    assert message["batch_id"].startswith("my-scans-")
    assert message["model"] == "digits"
    assert account.read_blob(message["manifest"]) == LINES
    assert not service.calls


def test_submitting_the_same_again_sends_the_message_but_not_the_file(
    onnxfn: Program, account: Account, tmp_path: Path
) -> None:
    path = tmp_path / "m.txt"
    path.write_bytes(LINES)
    arguments = ("batch", "submit", str(path), "--storage", account.connection_string, "--batch-id", "twice")

    onnxfn(*arguments)
    onnxfn(*arguments)

    first, second = account.take_messages()
    assert first == second
    assert account.blob_names("uploads/twice/") == [first["manifest"]]


def test_a_batch_is_known_before_its_manifest_is_read(onnxfn: Program, account: Account, tmp_path: Path) -> None:
    path = tmp_path / "m.txt"
    path.write_bytes(LINES)

    onnxfn("batch", "submit", str(path), "--storage", account.connection_string, "--batch-id", "unread")

    assert json.loads(account.read_blob("_submitted/unread.json"))["batch_id"] == "unread"
    assert [message["batch_id"] for message in account.take_messages()] == ["unread"]


def test_a_message_that_was_not_sent_leaves_no_batch_that_waits_for_it(
    onnxfn: Program, service: Service, account: Account, tmp_path: Path
) -> None:
    path = tmp_path / "m.txt"
    path.write_bytes(LINES)
    service.answer("POST /queues/batch-manifests/messages", refusal(403, "AuthorizationPermissionMismatch"))
    no_queues = re.sub("QueueEndpoint=[^;]*", f"QueueEndpoint={service.url}/queues", account.connection_string)

    done = onnxfn("batch", "submit", str(path), "--storage", no_queues, "--batch-id", "unsent")

    assert done.code == 1
    assert account.blob_names("_submitted/unsent") == []


def test_rights_on_the_queue_alone_suffice_for_a_message(
    onnxfn: Program, service: Service, account: Account, tmp_path: Path
) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps({"images": ["https://h/1.png"]}))
    for method in ("GET", "PUT"):
        for blob in ("_batch/sender.json", "_submitted/sender.json"):
            service.answer(f"{method} /blobs/manifests/{blob}", refusal(403, "AuthorizationPermissionMismatch"))
    no_blobs = re.sub("BlobEndpoint=[^;]*", f"BlobEndpoint={service.url}/blobs", account.connection_string)

    done = onnxfn("batch", "submit", str(path), "--storage", no_blobs, "--batch-id", "sender")

    assert (done.code, done.err) == (0, "")
    assert [message["batch_id"] for message in account.take_messages()] == ["sender"]


def test_the_id_of_a_batch_with_other_content_is_refused_before_anything_waits_for_it(
    onnxfn: Program, account: Account, tmp_path: Path
) -> None:
    path = tmp_path / "m.txt"
    path.write_bytes(LINES)
    record = {
        "batch_id": "taken",
        "digest": "0" * 64,
        "asked": "a",
        "source": "s",
        "message_id": "m",
        "model": "digits",
        "version": "1",
        "sha256": "1" * 64,
        "total": 1,
        "shards": 1,
        "mini_batch_size": 1,
        "max_attempts": 1,
        "manifest": "m",
        "manifest_etag": "e",
        "table": "t",
        "created_at": "2026-01-01T00:00:00+00:00",
        "traceparent": "",
        "error_threshold": -1,
    }
    account.write_blob("_batch/taken.json", json.dumps(record).encode())

    done = onnxfn("batch", "submit", str(path), "--storage", account.connection_string, "--batch-id", "taken")

    assert done.code == 2
    assert "exists with other content" in done.err
    assert "(batch_conflict)" in done.err
    assert account.take_messages() == []


def test_a_message_goes_as_it_is(onnxfn: Program, account: Account, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps({"images": ["https://h/1.png"], "batch_id": "inline"}))

    onnxfn("batch", "submit", str(path), "--storage", account.connection_string)

    assert account.take_messages() == [{"images": ["https://h/1.png"], "batch_id": "inline"}]


def test_a_message_too_large_for_a_queue_is_refused(onnxfn: Program, account: Account, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps({"images": [f"https://host/{index}.png" for index in range(3000)]}))

    done = onnxfn("batch", "submit", str(path), "--storage", account.connection_string)

    assert done.code == 2
    assert "too large for a queue" in done.err


def test_a_connection_string_that_is_none_is_a_wrong_call(onnxfn: Program, tmp_path: Path) -> None:
    path = tmp_path / "m.txt"
    path.write_bytes(LINES)

    done = onnxfn("batch", "submit", str(path), "--storage", "Nonsense=1")

    assert done.code == 2
    assert done.err.startswith("onnxfn: --storage: ")
