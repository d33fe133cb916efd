"""A start of the host: what is wrong is one sentence and exit code 1, before anything runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from devhost import launch


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "host.json").write_text(json.dumps({"version": "2.0"}))
    return tmp_path


def start(app: Path) -> int:
    return launch.launch(app, port=0, address=None, enable_auth=False, functions=(), is_verbose=False, is_json=False)


def test_a_worker_that_cannot_be_started_is_said(
    app: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def start_worker(*_: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(launch, "start_worker", start_worker)

    assert start(app) == 1
    assert capsys.readouterr().out == (
        "A worker process could not be started: [Errno 11] Resource temporarily unavailable.\n"
    )


def test_a_count_of_workers_that_is_none_starts_no_worker(
    app: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FUNCTIONS_WORKER_PROCESS_COUNT", "many")
    monkeypatch.setattr(launch, "start_worker", lambda *_: pytest.fail("a worker was started"))

    assert start(app) == 1
    assert "FUNCTIONS_WORKER_PROCESS_COUNT must be a positive whole number, not 'many'." in capsys.readouterr().out


def test_the_first_worker_need_not_wait_for_the_event_loop() -> None:
    program = "import sys, devhost.__main__, devhost.launch; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert "devhost.worker_start" in loaded
    assert not {"asyncio", "dataclasses", "msgspec", "inspect"} & {*loaded}
