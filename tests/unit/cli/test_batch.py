from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inference.cli import submission
from tests.unit.cli.service import Program, Reply, Service, refusal

ACCEPTED = Reply({"batch_id": "b", "status_url": "/api/batches/b"}, 202)
STATUS: dict[str, Any] = {
    "batch_id": "b",
    "state": "succeeded",
    "total": 2,
    "succeeded": 1,
    "failed": 1,
    "pending": 0,
    "errors": {"image_not_found": 1},
    "created_at": "2026-05-01T00:00:00Z",
    "updated_at": "2026-05-01T00:00:09Z",
}

type Write = Callable[[str, str | bytes], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a manifest and return its path."""

    def write_file(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write_file


@pytest.mark.parametrize(
    ("name", "content"),
    [("m.json", '{"images": ["https://h/1.png"]}'), ("no-suffix", '{\n "images": [\n  "https://h/1.png"\n ]\n}')],
)
def test_a_message_is_posted_with_the_options_in_it(
    onnxfn: Program, service: Service, write: Write, name: str, content: str
) -> None:
    service.answer("POST /api/batches", ACCEPTED)

    done = onnxfn("batch", "submit", write(name, content), "--batch-id", "b", "--model", "digits:1", "--json")

    assert (done.code, done.json) == (0, ACCEPTED.value)
    assert service.calls[0].json == {"batch_id": "b", "model": "digits:1", "images": ["https://h/1.png"]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.txt", "https://h/1.png\n\nhttps://h/2.png\n"),
        ("commas.txt", f"https://h/{',' * 1000}.png\n" * 3000),
        ("m.csv", "id,url\na,https://h/1.png\n"),
        ("m.jsonl", '{"id": "a", "url": "https://h/1.png"}\n"https://h/2.png"'),
        ("m.gz", gzip.compress(b"https://h/1.png\n")),
    ],
)
def test_a_file_of_lines_is_posted_as_it_is(
    onnxfn: Program, service: Service, write: Write, name: str, content: str | bytes
) -> None:
    """The service reads it as a stream; a document of JSON may have two million values."""
    service.answer("POST /api/batches", ACCEPTED)

    done = onnxfn("batch", "submit", write(name, content), "--batch-id", "b", "--max-retries", "0", "--json")

    assert (done.code, done.json) == (0, ACCEPTED.value)
    (call,) = service.calls
    assert call.body == (content if isinstance(content, bytes) else content.encode())
    assert (call.headers["content-type"], call.query) == (
        "application/octet-stream",
        {"batch_id": "b", "max_retries": "0"},
    )


def test_the_command_line_wins_over_the_message(onnxfn: Program, service: Service, write: Write) -> None:
    service.answer("POST /api/batches", ACCEPTED)
    path = write("m.json", json.dumps({"batch_id": "old", "images": ["https://h/1"], "parameters": {"top_k": 1}}))
    numbers = ("--mini-batch-size", "7", "--error-threshold", "-1", "--max-retries", "0")
    options = (*numbers, "--batch-id", "new", "--callback-url", "https://hooks.example/b")

    done = onnxfn("batch", "submit", path, *options)

    assert done.out == "b\n"
    assert service.calls[0].json == {
        "batch_id": "new",
        "images": ["https://h/1"],
        "parameters": {"top_k": 1},
        "mini_batch_size": 7,
        "error_threshold": -1,
        "max_retries": 0,
        "callback_url": "https://hooks.example/b",
    }


def test_the_url_of_a_blob_is_sent_as_a_pointer(onnxfn: Program, service: Service) -> None:
    service.answer("POST /api/batches", ACCEPTED)
    url = "https://account.blob.core.windows.net/manifests/m.jsonl"

    onnxfn("batch", "submit", url)

    assert service.calls[0].json == {"manifest": url}


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("m.jsonl", '{"url": "https://h/1"}\n{"url": ""}\n', "line 2: no url"),
        ("m.jsonl", '{"url": "https://h/1"}\n{"url": \n', "line 2: not JSON"),
        ("m.csv", "url\nhttps://h/1\nhttps://h/2,3\n", "line 3: 2 cells"),
        ("m.txt", "https://h/1\nnonsense\n", "line 2: no url"),
        ("m.txt", "\n\n", "no images"),
        ("m.json", '{"images": [\n "https://h/1",\n}', "line 3: not JSON"),
        ("m.json", '{"images": ["https://h/1", {"url": 3}]}', "images.1: no url"),
        ("m.json", '{"images": []}', "images"),
        ("m.json", '{"images": ["https://h/1"], "model_name": "x"}', "model_name"),
    ],
)
def test_a_broken_manifest_is_refused_before_anything_is_sent(
    onnxfn: Program, service: Service, write: Write, name: str, content: str, fault: str
) -> None:
    path = write(name, content)

    done = onnxfn("batch", "submit", path)

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"onnxfn: {path}: ")
    assert fault in done.err
    assert not service.calls


def test_a_batch_id_that_cannot_be_is_refused_before_anything_is_sent(
    onnxfn: Program, service: Service, write: Write
) -> None:
    done = onnxfn("batch", "submit", write("m.txt", "https://h/1"), "--batch-id", "No Id")

    assert done.code == 2
    assert done.err.startswith("onnxfn: --batch-id: 1 to 63 ")  # the option is wrong, not the file
    assert not service.calls


def test_a_manifest_that_does_not_exist_is_a_wrong_call(onnxfn: Program, service: Service) -> None:
    done = onnxfn("batch", "submit", "no-such-file")

    assert (done.code, done.err) == (2, "onnxfn: There is no file no-such-file.\n")


def test_one_too_large_for_a_request_asks_for_storage(
    onnxfn: Program, service: Service, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "MAX_HTTP_BYTES", 20)

    done = onnxfn("batch", "submit", write("m.txt", "https://h/1\nhttps://h/2\n"))

    assert done.code == 2
    assert "--storage" in done.err
    assert not service.calls


def test_a_conflict_is_a_wrong_call(onnxfn: Program, service: Service, write: Write) -> None:
    service.answer("POST /api/batches", refusal(409, "batch_conflict", "Other content."))

    done = onnxfn("batch", "submit", write("m.txt", "https://h/1"), "--batch-id", "b")

    assert (done.code, done.err) == (2, "onnxfn: Other content. (batch_conflict)\n")


@pytest.mark.parametrize(("state", "code"), [("succeeded", 0), ("failed", 1), ("cancelled", 1)])
def test_waiting_ends_with_the_batch(onnxfn: Program, service: Service, write: Write, state: str, code: int) -> None:
    service.answer("POST /api/batches", ACCEPTED)
    service.answer("GET /api/batches/b", {**STATUS, "state": state})

    done = onnxfn("batch", "submit", write("m.txt", "https://h/1"), "--wait", "--json")

    assert (done.code, done.json["state"]) == (code, state)


def test_a_wait_that_breaks_off_has_named_its_batch(onnxfn: Program, service: Service, write: Write) -> None:
    service.answer("POST /api/batches", ACCEPTED)
    service.answer("GET /api/batches/b", Reply(b"", 401))

    done = onnxfn("batch", "submit", write("m.txt", "https://h/1"), "--wait")

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Submitted b.\n")


def test_status_is_read_by_a_person(onnxfn: Program, service: Service) -> None:
    service.answer("GET /api/batches/b", STATUS)

    lines = onnxfn("batch", "status", "b").out.splitlines()

    assert lines[0] == "batch_id    b"
    assert lines[1] == "state       succeeded"
    assert lines[-1] == "errors      image_not_found 1"


def test_a_manifest_that_could_not_become_a_batch_says_why(onnxfn: Program, service: Service, write: Write) -> None:
    error = {"code": "invalid_manifest", "message": "Line 3 has no url."}
    service.answer("POST /api/batches", ACCEPTED)
    service.answer("GET /api/batches/b", {**STATUS, "state": "failed", "total": 0, "errors": {}, "error": error})

    assert onnxfn("batch", "status", "b").out.splitlines()[-1] == "error       Line 3 has no url. (invalid_manifest)"
    done = onnxfn("batch", "submit", write("m.txt", "https://h/1"), "--wait")
    assert (done.code, done.err) == (
        1,
        "Submitted b.\nonnxfn: The batch b ended as failed: Line 3 has no url. (invalid_manifest)\n",
    )


@pytest.mark.parametrize(("command", "method"), [("status", "GET"), ("cancel", "DELETE")])
def test_status_and_cancel_in_json_are_the_services_reply(
    onnxfn: Program, service: Service, command: str, method: str
) -> None:
    service.answer(f"{method} /api/batches/b", STATUS)

    assert onnxfn("batch", command, "b", "--json").json == STATUS


def test_batches_are_a_table(onnxfn: Program, service: Service) -> None:
    service.answer("GET /api/batches", {"batches": [STATUS]})

    lines = onnxfn("batch", "list").out.splitlines()

    assert lines[1].split() == ["b", "succeeded", "2", "1", "1", "0", "2026-05-01T00:00:00Z"]
    assert onnxfn("batch", "list", "--json").json == {"batches": [STATUS]}


def test_results_are_written_as_they_come(onnxfn: Program, service: Service, tmp_path: Path) -> None:
    rows = b'{"index": 0}\n{"index": 1}\n'
    service.answer("GET /api/batches/b/results", Reply(rows))
    path = tmp_path / "rows.csv"

    onnxfn("batch", "results", "b", "--format", "csv", "--output", str(path))

    assert path.read_bytes() == rows
    assert onnxfn("batch", "results", "b").out.encode() == rows
    assert [call.query for call in service.calls] == [{"format": "csv"}, {"format": "jsonl"}]


def test_results_of_any_size_come_in_ranges(onnxfn: Program, service: Service, tmp_path: Path) -> None:
    parts = [
        Reply(b'{"index"', 206, headers={"content-range": "bytes 0-7/12", "etag": '"1"'}),
        Reply(b": 0}", 206, headers={"content-range": "bytes 8-11/12", "etag": '"1"'}),
    ]
    path = tmp_path / "rows"
    service.answer("GET /api/batches/b/results", *parts)

    assert onnxfn("batch", "results", "b", "--output", str(path)).code == 0
    assert path.read_bytes() == b'{"index": 0}'
    asked = [(call.headers["range"].partition("-")[0], call.headers.get("if-range")) for call in service.calls]
    assert asked == [("bytes=0", None), ("bytes=8", '"1"')]


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        (Reply(b"{}\n"), "written anew while they were read"),
        (Reply(b"", 206, headers={"content-range": "bytes 8-11/12"}), "cut its reply off"),
        (Reply(b": 0}", 206, headers={"content-range": "bytes 8-11/*"}), "a range of an unknown length"),
    ],
)
def test_results_that_change_between_two_ranges_are_no_file(
    onnxfn: Program, service: Service, tmp_path: Path, second: Reply, sentence: str
) -> None:
    first = Reply(b'{"index"', 206, headers={"content-range": "bytes 0-7/12", "etag": '"1"'})
    path = tmp_path / "rows"
    service.answer("GET /api/batches/b/results", first, second)

    done = onnxfn("batch", "results", "b", "--output", str(path))

    assert done.code == 1
    assert sentence in done.err
    assert not path.exists()


@pytest.mark.parametrize("arguments", [("--format", "xml"), ("--format", "csv", "--json")])
def test_a_format_that_cannot_be_is_a_wrong_call(onnxfn: Program, service: Service, arguments: tuple[str, ...]) -> None:
    assert onnxfn("batch", "results", "b", *arguments).code == 2
    assert not service.calls


def test_a_file_that_cannot_be_written_is_said_in_one_line(onnxfn: Program, service: Service, tmp_path: Path) -> None:
    service.answer("GET /api/batches/b/results", Reply(b"{}\n"))

    path = tmp_path / "no" / "rows"

    done = onnxfn("batch", "results", "b", "--output", str(path))

    assert (done.code, done.err) == (1, f"onnxfn: {path}: No such file or directory\n")


@pytest.mark.parametrize("command", ["status", "results", "cancel"])
def test_an_empty_id_names_no_batch(onnxfn: Program, service: Service, command: str) -> None:
    assert onnxfn("batch", command, "").code == 2
    assert not service.calls


def test_results_that_are_refused_leave_no_file(onnxfn: Program, service: Service, tmp_path: Path) -> None:
    service.answer("GET /api/batches/b/results", refusal(404, "batch_not_found"))

    assert onnxfn("batch", "results", "b", "--output", str(tmp_path / "rows")).code == 2
    assert not (tmp_path / "rows").exists()


@pytest.mark.parametrize(("command", "call"), [("status", "GET"), ("cancel", "DELETE")])
def test_the_reply_of_another_service_is_no_status(onnxfn: Program, service: Service, command: str, call: str) -> None:
    service.answer(f"{call} /api/batches/b", {"title": "another service"})

    done = onnxfn("batch", command, "b")

    assert (done.code, done.out) == (1, "")
    assert "does not answer like this service" in done.err
