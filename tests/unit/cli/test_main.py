from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.service import Program, Reply, Service

#: Slow to import, so no command may load them before it needs them.
HEAVY = {
    "aiohttp",
    "azure",
    "devhost",
    "msgspec",
    "numpy",
    "onnxruntime",
    "opentelemetry",
    "pydantic",
    "rich",
    "urllib.request",
}


def test_importing_the_program_loads_nothing_heavy() -> None:
    code = "import sys, inference.cli.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    assert not HEAVY & set(loaded)


@pytest.mark.parametrize(
    "group",
    [(), ("start",), ("score",), ("batch",), ("batch", "submit"), ("deadletter",), ("deadletter", "purge"), ("model",)],
)
def test_every_group_explains_itself(onnxfn: Program, group: tuple[str, ...]) -> None:
    done = onnxfn(*group, "--help")

    assert done.code == 0
    assert "Usage: onnxfn" in done.out


def test_the_version_is_printed(onnxfn: Program) -> None:
    assert onnxfn("--version").out.startswith("onnxfn 0.")


@pytest.mark.parametrize("arguments", [("nonsense",), ("batch", "nonsense"), ("score",), ("batch", "status")])
def test_a_call_that_cannot_be_is_2(onnxfn: Program, arguments: tuple[str, ...]) -> None:
    done = onnxfn(*arguments)

    assert (done.code, done.out) == (2, "")
    assert "Usage: onnxfn" in done.err


def test_no_service_is_1_and_says_what_to_do(onnxfn: Program) -> None:
    done = onnxfn("model", "list", "--url", "http://127.0.0.1:9")

    assert (done.code, done.out) == (1, "")
    assert done.err == "onnxfn: No service at http://127.0.0.1:9; start it with `onnxfn start`.\n"


def run_program(service: Service, *arguments: str | bytes, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run the program in a process of its own, as only that has streams of another encoding."""
    code = "from inference.cli.main import run; run()"
    variables = {**os.environ, "ONNXFN_URL": service.url, **environment}
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, env=variables, check=False)


#: 図 is in no encoding of Western Europe, and no file name of these bytes is UTF-8.
MODELS = {
    "models": [
        {
            "name": "図",
            "version": "1",
            "versions": [{"version": "1"}],
            "state": "ready",
            "task": "text",
            "labels": None,
            "sha256": None,
        }
    ]
}


def test_a_terminal_without_the_characters_is_shown_their_escapes(service: Service) -> None:
    service.answer("GET /api/models", MODELS)

    shown = run_program(service, "model", "list", PYTHONIOENCODING="latin-1")
    document = run_program(service, "model", "list", "--json", PYTHONIOENCODING="latin-1")

    assert (shown.returncode, shown.stderr) == (0, b"")
    assert shown.stdout.splitlines()[1].startswith(b"\\u56f3")
    assert (document.returncode, json.loads(document.stdout)) == (0, MODELS)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8:surrogateescape", "ascii"])
def test_a_file_whose_name_is_no_text_is_scored_and_its_document_is_json(
    service: Service, tmp_path: Path, encoding: str
) -> None:
    name = os.fsencode(tmp_path) + b"/\xff.png"
    Path(os.fsdecode(name)).write_bytes(b"scan")
    service.answer("POST /api/score", [1], {})
    done = run_program(service, "score", name, PYTHONIOENCODING=encoding)

    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\udcff.png" in done.stdout

    service.replies.clear()
    document = run_program(service, "score", name, name, "--json", PYTHONIOENCODING=encoding)
    assert json.loads(document.stdout.decode())["results"][0]["id"].endswith("\udcff.png")


def test_an_argument_that_is_no_text_is_a_wrong_call(service: Service) -> None:
    done = run_program(service, "score", "--model", b"\xff", sys.executable)

    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"onnxfn: An argument is not UTF-8.\n")


def test_streams_that_were_closed_are_nowhere(service: Service) -> None:
    service.answer("GET /api/batches/b/results", Reply(b'{"index": 0}\n'))
    command = f'{sys.executable} -c "from inference.cli.main import run; run()"'
    variables = {**os.environ, "ONNXFN_URL": service.url}

    def run(line: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["/bin/sh", "-c", f"{command} {line}"], capture_output=True, env=variables, check=False)

    closed, unsaid = run("batch results b >&-"), run("batch status b 2>&-")

    assert (closed.returncode, closed.stderr) == (0, b"")
    assert (unsaid.returncode, unsaid.stdout) == (2, b"")
