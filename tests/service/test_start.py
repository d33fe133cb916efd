"""`onnxfn start` as a user types it: what it prints, that it serves, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.service.conftest import ROOT, environment

ONNXFN = Path(sys.executable).parent / "onnxfn"


@contextmanager
def started(storage: str, errors: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    with (
        errors.open("w") as stderr,
        subprocess.Popen(
            [ONNXFN, "start", "--port", "0", *arguments],
            cwd=ROOT,
            env=os.environ | environment(storage),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def lives(url: str) -> bool:
    with urllib.request.urlopen(f"{url}/api/health", timeout=120) as reply:  # noqa: S310 -- a url of our own
        return bool(reply.status == 200)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_it_prints_the_banner_and_serves_until_a_signal(azurite: str, tmp_path: Path, number: int) -> None:
    with started(azurite, tmp_path / "errors") as process:
        assert process.stdout is not None
        printed = ""
        while not (listening := re.search(r"Now listening on: (http://\S+)$", printed, re.MULTILINE)):
            line = process.stdout.readline()
            assert line, printed
            printed += line
        assert f"\tscore: [GET,POST] {listening.group(1)}/api/score\n" in printed
        assert lives(listening.group(1))
        process.send_signal(number)
        process.communicate(timeout=120)

    assert process.returncode == 0
    assert (tmp_path / "errors").read_text() == ""


def test_with_json_a_program_reads_where_it_listens(azurite: str, tmp_path: Path) -> None:
    with started(azurite, tmp_path / "errors", "--json") as process:
        assert process.stdout is not None
        document = json.loads(process.stdout.readline())
        assert lives(document["url"])
        process.terminate()
        rest, _ = process.communicate(timeout=120)

    functions = {function["name"]: function for function in document["functions"]}
    assert functions["score"] == {
        "name": "score",
        "trigger": "httpTrigger",
        "methods": ["GET", "POST"],
        "url": f"{document['url']}/api/score",
        "is_disabled": False,
    }
    assert functions["score_shard"] == {"name": "score_shard", "trigger": "queueTrigger", "is_disabled": False}
    assert (process.returncode, rest) == (0, "")
    assert "Now listening on: " in (tmp_path / "errors").read_text()
