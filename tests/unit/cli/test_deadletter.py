from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.service import Program, Reply, Service, refusal


def record(index: int) -> dict[str, Any]:
    return {
        "batch_id": "b",
        "index": index,
        "id": str(index),
        "url": f"https://host/{index}.png",
        "code": "image_not_found",
        "message": "Gone.",
        "attempts": 1,
        "first_at": "2026-05-01T00:00:00Z",
        "last_at": "2026-05-01T00:00:01Z",
        "history": [{"round": 0, "code": "origin_timeout"}],
    }


def test_pages_are_followed_to_the_end(onnxfn: Program, service: Service) -> None:
    service.answer(
        "GET /api/deadletters",
        {"deadletters": [record(0), record(1)], "next": "token"},
        {"deadletters": [record(2)]},
    )

    done = onnxfn("deadletter", "list", "--json")

    assert done.json == {"deadletters": [record(0), record(1), record(2)]}
    assert [call.query.get("next") for call in service.calls] == [None, "token"]


def test_a_limit_spans_pages(onnxfn: Program, service: Service) -> None:
    service.answer(
        "GET /api/deadletters",
        {"deadletters": [record(0), record(1)], "next": "token"},
        {"deadletters": [record(2)], "next": "more"},
    )

    done = onnxfn("deadletter", "list", "--limit", "3", "--json")

    assert len(done.json["deadletters"]) == 3
    assert [call.query["limit"] for call in service.calls] == ["3", "1"]


@pytest.mark.parametrize("command", ["list", "show"])
def test_a_choice_is_looked_at_with_all_options_of_its_replay(onnxfn: Program, service: Service, command: str) -> None:
    service.answer("GET /api/deadletters", {"deadletters": [record(7)]})

    chosen = ("--batch-id", "b", "--code", "image_not_found", "--since", "2026-05-01", "--limit", "5", "--dry-run")
    done = onnxfn("deadletter", command, *chosen, "--json")

    assert done.json == {"deadletters": [record(7)]}


def test_the_table_names_what_failed_and_why(onnxfn: Program, service: Service) -> None:
    service.answer("GET /api/deadletters", {"deadletters": [record(7)]})

    lines = onnxfn("deadletter", "list").out.splitlines()

    assert lines[0].split() == ["BATCH", "INDEX", "ID", "CODE", "ATTEMPTS", "LAST", "URL"]
    assert lines[1].split() == ["b", "7", "7", "image_not_found", "1", "2026-05-01T00:00:01Z", "https://host/7.png"]


def test_a_long_table_says_that_there_is_more(onnxfn: Program, service: Service) -> None:
    service.answer("GET /api/deadletters", {"deadletters": [record(index) for index in range(101)]})

    done = onnxfn("deadletter", "list")

    assert len(done.out.splitlines()) == 1 + 100
    assert "more than these 100" in done.err


def test_a_table_that_is_whole_does_not_say_so(onnxfn: Program, service: Service) -> None:
    service.answer("GET /api/deadletters", {"deadletters": [record(index) for index in range(100)]})

    done = onnxfn("deadletter", "list")

    assert (len(done.out.splitlines()), done.err) == (101, "")


def test_a_record_is_shown_whole_with_its_history(onnxfn: Program, service: Service) -> None:
    service.answer("GET /api/deadletters", {"deadletters": [record(7)]})

    out = onnxfn("deadletter", "show", "--batch-id", "b").out

    assert "message   Gone." in out
    assert "before    round 0, code origin_timeout" in out
    assert service.calls[0].query["batch_id"] == "b"


def test_replay_sends_the_filter_and_says_what_is_tried_again(onnxfn: Program, service: Service) -> None:
    reply = {"replayed": 1, "batches": [{"batch_id": "b", "round": 1, "items": 1}], "dry_run": False}
    service.answer("POST /api/deadletters/replay", Reply(reply, 202))

    done = onnxfn(
        "deadletter", "replay", "--batch-id", "b", "--code", "image_not_found", "--since", "2026-05-01", "--limit", "5"
    )

    assert done.out.splitlines() == ["Replaying 1 image.", "  b  round 1, 1 image"]
    assert service.calls[0].json == {
        "batch_id": "b",
        "code": "image_not_found",
        "since": "2026-05-01T00:00:00Z",
        "limit": 5,
        "dry_run": False,
    }


def test_a_dry_run_of_a_replay_says_so(onnxfn: Program, service: Service) -> None:
    service.answer("POST /api/deadletters/replay", Reply({"replayed": 2, "batches": [], "dry_run": True}, 202))

    assert onnxfn("deadletter", "replay", "--dry-run").out == "Would replay 2 images.\n"
    assert service.calls[0].json == {"dry_run": True}


def test_replay_in_json_is_the_services_reply(onnxfn: Program, service: Service) -> None:
    reply = {"replayed": 0, "batches": [], "dry_run": False}
    service.answer("POST /api/deadletters/replay", Reply(reply, 202))

    assert onnxfn("deadletter", "replay", "--json").json == reply


def test_purge_says_how_many(onnxfn: Program, service: Service) -> None:
    service.answer("POST /api/deadletters/purge", Reply({"purged": 3, "batches": [], "dry_run": False}, 202))

    assert onnxfn("deadletter", "purge", "--yes").out == "Purged 3 images.\n"


def test_an_export_is_written_as_it_comes(onnxfn: Program, service: Service, tmp_path: Path) -> None:
    manifest = b'{"url": "https://host/1.png"}\n'
    service.answer("GET /api/deadletters/export", Reply(manifest))
    path = tmp_path / "again.jsonl"

    onnxfn("deadletter", "export", "--code", "origin_timeout", "--output", str(path))

    assert path.read_bytes() == manifest
    assert onnxfn("deadletter", "export").out.encode() == manifest
    assert service.calls[0].query == {"code": "origin_timeout"}


def test_a_refused_export_leaves_no_file(onnxfn: Program, service: Service, tmp_path: Path) -> None:
    service.answer("GET /api/deadletters/export", refusal(503, "storage_unavailable"))
    path = tmp_path / "again.jsonl"

    assert onnxfn("deadletter", "export", "--output", str(path)).code == 1
    assert not path.exists()


@pytest.mark.parametrize("arguments", [("--limit", "0"), ("--since", "soon"), ("--nonsense",)])
def test_a_bad_option_is_a_wrong_call(onnxfn: Program, service: Service, arguments: tuple[str, ...]) -> None:
    assert onnxfn("deadletter", "list", *arguments).code == 2
    assert not service.calls
