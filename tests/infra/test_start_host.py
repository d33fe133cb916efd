"""The image's start script passes SIGTERM on and ends with the host; one of its form stands in for Microsoft's own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inference.batch import scoring
from inference.draining import DRAIN_SECONDS, LINGER_SECONDS
from tests.infra.bicep import ROOT, read
from tests.infra.test_image import environment

#: What the host waits for messages under way when it is to end, by no setting (WebJobsScriptHostService.StopAsync).
HOST_STOP_SECONDS = 10.0

MICROSOFTS = "/opt/startup/start_nonappservice.sh"

#: Says that it is up, and a moment after SIGTERM that it is done; a host also has a worker, as a child.
PROCESS = """
import signal, subprocess, sys, time
name, *worker = sys.argv[1:]
children = [subprocess.Popen([sys.executable, __file__, *worker])] if worker else []
def end(*_):
    [child.wait() for child in children]
    time.sleep(0.3)
    print(name, "ended", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print(name, "up", flush=True)
while True:
    signal.pause()
"""


@contextmanager
def started(tmp_path: Path, command: str) -> Iterator[subprocess.Popen[str]]:
    """Run scripts/start-host with `command` as the last line of Microsoft's script."""
    microsofts = tmp_path / "start_nonappservice.sh"
    microsofts.write_text(f"#!/usr/bin/env bash\n: certificates\n\n{command}")
    microsofts.chmod(0o755)
    script = tmp_path / "start-host"
    script.write_text((ROOT / "scripts/start-host").read_text().replace(MICROSOFTS, str(microsofts)))
    script.chmod(0o755)
    with subprocess.Popen([script], stdout=subprocess.PIPE, text=True) as process:
        yield process


def wait_for_lines(process: subprocess.Popen[str], *lines: str) -> None:
    assert process.stdout
    missing = set(lines)
    while missing:
        line = process.stdout.readline()
        assert line, f"ended without {missing}"
        missing.discard(line.strip())


def test_sigterm_reaches_the_host_and_its_workers_and_the_container_waits_for_both(tmp_path: Path) -> None:
    program = tmp_path / "process.py"
    program.write_text(PROCESS)

    with started(tmp_path, f"{sys.executable} {program} host worker") as process:
        wait_for_lines(process, "host up", "worker up")
        os.kill(process.pid, signal.SIGTERM)
        process.wait(timeout=120)

        assert process.stdout
        assert set(process.stdout.read().splitlines()) == {"worker ended", "host ended"}


def test_a_host_that_ends_by_itself_ends_the_container_with_its_exit_code(tmp_path: Path) -> None:
    with started(tmp_path, "(exit 3)") as process:
        assert process.wait(timeout=120) == 3


def test_the_script_starts_what_the_image_would_start() -> None:
    assert (ROOT / "scripts/start-host").read_text().count(f"\n{MICROSOFTS} &\n") == 1
    assert 'CMD ["bash", "/opt/startup/start-host"]\n' in (ROOT / "Dockerfile").read_text()


def test_each_grace_is_longer_than_the_one_within_it() -> None:
    host = float(environment()["ASPNETCORE_SHUTDOWNTIMEOUTSECONDS"])
    replica = read(ROOT / "infra/bicep/api.bicep").parameters["terminationGracePeriodSeconds"]["default"]

    assert DRAIN_SECONDS + LINGER_SECONDS < host < replica
    # A shard also writes its part and sends its next message before the host deletes this one.
    assert scoring._DRAIN_SECONDS + 3 <= HOST_STOP_SECONDS
    assert environment()["FUNCTIONS_ENABLE_DRAIN_ON_APP_STOPPING"] == "true"
