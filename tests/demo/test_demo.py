"""The demo, as a newcomer runs it: `scripts/demo.py` in a process of its own, while the usual ports are taken."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IMAGES = len(list((ROOT / "samples" / "images" / "digits").iterdir()))


@pytest.fixture(scope="module")
def taken_ports() -> Iterator[None]:
    """Hold the ports of `func start` and of Azurite, unless something else does."""
    with contextlib.ExitStack() as held:
        for port in (7071, 10000, 10001):
            listener = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", port))
                listener.listen()
        yield


@pytest.fixture(scope="module")
def transcript(taken_ports: None) -> str:
    """What the demo prints; its exit code is 0."""
    if not (ROOT / "node_modules/.bin/azurite").exists() and "CI" not in os.environ:
        pytest.skip("Azurite is not installed: run make setup")
    done = subprocess.run([sys.executable, "scripts/demo.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    return done.stdout


def test_a_scan_of_a_seven_is_read_over_http(transcript: str) -> None:
    reply = transcript.partition("Score one scan over HTTP")[2].partition("\n>")[0]

    assert '"model": "digits"' in reply
    assert '"label": "7"' in reply


def test_every_item_of_the_manifest_ends_as_a_row(transcript: str) -> None:
    rows = transcript.partition("results.jsonl is complete")[2].partition("\n>")[0]

    assert rows.count("succeeded  ") == IMAGES - 1
    assert rows.count("image_not_found") >= 1
    assert "digit-8-b.jpg" in rows


def test_the_failed_item_is_a_dead_letter_with_its_reason(transcript: str) -> None:
    letter = transcript.partition("is a dead letter")[2].partition("\n>")[0]

    assert '"code": "image_not_found"' in letter
    assert '"batch_id": "demo"' in letter


def test_its_replay_makes_the_results_whole_and_leaves_the_other_rows(transcript: str) -> None:
    end = transcript.partition("written anew")[2]

    assert f'"succeeded": {IMAGES}, "failed": 0, "pending": 0' in end
    assert f"{IMAGES - 1} rows that had succeeded are the same bytes as before" in end
    assert "All of it worked" in end


def test_nothing_that_it_started_is_left(transcript: str) -> None:
    url = transcript.partition("service   http://localhost:")[2].split()[0]

    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(url))) != 0
