"""A start of the host: what is wrong is one sentence and exit code 1, before anything runs."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path

import pytest

from devhost import host, launch, worker_start
from devhost.errors import ConfigurationError
from devhost.worker_start import StartedWorker


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "host.json").write_text(json.dumps({"version": "2.0"}))
    return tmp_path


def start(app: Path, address: str | None = None) -> int:
    return launch.launch(app, port=0, address=address, enable_auth=False, functions=(), is_verbose=False, is_json=False)


def test_a_worker_that_cannot_be_started_is_said(
    app: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def start_worker(*_: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(launch, "start_worker", start_worker)

    assert start(app) == 1
    assert capsys.readouterr().err == (
        "A worker process could not be started: [Errno 11] Resource temporarily unavailable.\n"
    )


def test_a_setting_that_no_environment_can_hold_is_said(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (app / "local.settings.json").write_text('{"Values": {"A=B": "c"}}')

    assert start(app) == 1
    assert capsys.readouterr().err == "A worker process could not be started: illegal environment variable name.\n"


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        ({"LocalHttpPort": 70_000}, "The port must be a number from 0 to 65535, not 70000."),
        ({"LocalHttpAddress": "192.0.2.1"}, "The address '192.0.2.1' is not one that this machine can listen on."),
        ({"LocalHttpAddress": "not an address"}, "The address 'not an address' is not one"),
    ],
)
def test_a_place_that_cannot_be_listened_on_is_refused_in_a_sentence(
    app: Path, capsys: pytest.CaptureFixture[str], host: dict[str, object], sentence: str
) -> None:
    (app / "local.settings.json").write_text(json.dumps({"Host": {"LocalHttpPort": 0, **host}}))

    assert (
        launch.launch(app, port=None, address=None, enable_auth=False, functions=(), is_verbose=False, is_json=False)
        == 1
    )
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(sentence)


@pytest.mark.parametrize("count", ["many", "9" * 5000])
def test_a_count_of_workers_that_is_none_starts_no_worker(
    count: str, app: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FUNCTIONS_WORKER_PROCESS_COUNT", count)
    monkeypatch.setattr(launch, "start_worker", lambda *_: pytest.fail("a worker was started"))

    assert start(app) == 1
    assert f"FUNCTIONS_WORKER_PROCESS_COUNT must be a positive whole number, not '{count}'." in capsys.readouterr().err


def test_the_first_worker_need_not_wait_for_the_event_loop() -> None:
    program = "import sys, devhost.__main__, devhost.launch; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert "devhost.worker_start" in loaded
    assert not {"asyncio", "dataclasses", "msgspec", "inspect"} & {*loaded}


HANGING_APP = "import time\nwhile True: time.sleep(1)\n"


def catch_worker(monkeypatch: pytest.MonkeyPatch) -> list[StartedWorker]:
    """Return a list that gets the first worker when it is started."""
    started: list[StartedWorker] = []

    def start_worker(app_dir: Path, environment: Mapping[str, str]) -> StartedWorker:
        started.append(worker_start.start_worker(app_dir, environment))
        return started[0]

    monkeypatch.setattr(launch, "start_worker", start_worker)
    return started


def test_a_start_that_fails_leaves_no_worker(
    app: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def find_executable(_: object) -> Path:
        raise ConfigurationError("Azurite is not installed.")

    (app / "function_app.py").write_text(HANGING_APP)
    monkeypatch.setattr(host, "find_executable", find_executable)
    monkeypatch.setattr(host, "is_listening", lambda _: False)
    monkeypatch.setenv("AzureWebJobsStorage", "UseDevelopmentStorage=true")
    started = catch_worker(monkeypatch)

    assert start(app) == 1
    assert "Azurite is not installed." in capsys.readouterr().err
    assert started[0].process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_host_runs_ends_the_worker_and_the_start(
    app: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def take_long_to_import(running: Coroutine[None, None, int]) -> None:
        running.close()
        os.kill(os.getpid(), number)
        time.sleep(30)

    (app / "function_app.py").write_text(HANGING_APP)
    monkeypatch.setattr(asyncio, "run", take_long_to_import)
    monkeypatch.setattr(host, "Host", lambda *_: None)
    before = signal.getsignal(number)
    started = catch_worker(monkeypatch)

    with pytest.raises(SystemExit) as ended:
        start(app)

    assert ended.value.code == 0
    assert started[0].process.returncode == -signal.SIGKILL
    assert signal.getsignal(number) is before
