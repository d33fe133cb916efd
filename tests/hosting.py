"""Runs the local host as a process for tests: start it on a free port, wait for its banner, reach it, stop it.

It refuses to look inside: what a test learns it learns over HTTP, from storage, the console or the process table.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

_REPOSITORY = Path(__file__).resolve().parents[1]
_LISTENING = re.compile(r"Now listening on: http://[^:]+:(\d+)$", re.MULTILINE)

#: Bounds a hang, and nothing else: a machine with one busy core takes its time.
DEADLINE_SECONDS = 120.0


def write_app(
    folder: Path,
    function_app: str,
    *,
    host_json: Mapping[str, object] | None = None,
    local_settings: Mapping[str, object] | None = None,
) -> Path:
    """Write a small function app into `folder` and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "function_app.py").write_text(function_app)
    (folder / "host.json").write_text(json.dumps({"version": "2.0", **(host_json or {})}))
    if local_settings is not None:
        (folder / "local.settings.json").write_text(json.dumps(local_settings))
    return folder


class HostProcess:
    """`python -m devhost` on the app in a folder. A context manager, or `start` and `stop`."""

    def __init__(
        self,
        app_dir: Path,
        *,
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        launcher: Sequence[str] = (),
    ) -> None:
        """`launcher` is a command that becomes the one that follows it, as `nice` and `env` do."""
        self.app_dir = app_dir
        self._environment = environment or {}
        self._arguments = arguments
        self._launcher = launcher
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._lines: list[str] = []
        self._line_arrived = threading.Condition()
        self.port = 0

    @property
    def url(self) -> str:
        """The base url, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        """All that the host has printed until now."""
        with self._line_arrived:
            return "".join(self._lines)

    @property
    def process(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise RuntimeError("the host was not started")
        return self._process

    @property
    def worker_pids(self) -> list[int]:
        """The host's live worker processes, oldest first."""
        return [worker.pid for worker in self._workers()]

    def _workers(self) -> list[psutil.Process]:
        workers = []
        with suppress(psutil.NoSuchProcess):  # the host itself, which has ended
            for child in psutil.Process(self.process.pid).children():
                with suppress(psutil.NoSuchProcess):  # one that ends while it is looked at; a zombie has no command
                    if "devhost.worker" in child.cmdline():
                        workers.append(child)
        return sorted(workers, key=psutil.Process.create_time)

    def launch(self) -> Self:
        """Start the process without waiting for it; one that has ended can be started again, with a new output."""
        self._lines = []
        command = [sys.executable, "-m", "devhost", "--script-root", str(self.app_dir), "--port", "0"]
        self._process = subprocess.Popen(
            [*self._launcher, *command, *self._arguments],
            cwd=_REPOSITORY,
            env={**os.environ, **self._environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def start(self) -> Self:
        """Start the host and wait until it listens."""
        self.launch()
        try:
            self.wait_until_listening()
        except BaseException:
            self.kill()
            raise
        return self

    def wait_until_listening(self) -> None:
        """Wait until a host that was launched can be reached. Raises AssertionError when it ends, or takes too long."""
        self.port = int(self.wait_for_output(_LISTENING.pattern).group(1))

    def wait_for_output(self, pattern: str, seconds: float = DEADLINE_SECONDS) -> re.Match[str]:
        """Wait until the output so far matches `pattern`. Fails when the host ends, or the time is up, before."""
        expression = re.compile(pattern, re.MULTILINE)
        deadline = time.monotonic() + seconds
        while True:
            with self._line_arrived:
                match = expression.search("".join(self._lines))
                if match is not None:
                    return match
                is_over = self._reader is None or not self._reader.is_alive()
                if not is_over and time.monotonic() < deadline:
                    self._line_arrived.wait(0.1)
                    continue
            reason = "the host ended" if is_over else f"{seconds:g} s went by"
            raise AssertionError(f"{reason} before it printed {pattern!r}; it printed:\n{self.output}")

    def send_signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = DEADLINE_SECONDS) -> int:
        """Wait for the host's end and return its exit code."""
        code = self.process.wait(seconds)
        if self._reader is not None:
            self._reader.join(seconds)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def stop(self) -> int:
        """Ask the host to end (SIGTERM), wait, and return its exit code."""
        if self.process.poll() is None:
            self.send_signal()
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """End the host at once, as when a container is killed. Its workers notice and end too."""
        workers = self._workers()
        self.process.kill()
        with suppress(subprocess.TimeoutExpired):
            self.wait()
        deadline = time.monotonic() + DEADLINE_SECONDS
        while any(map(is_alive, workers)) and time.monotonic() < deadline:
            time.sleep(0.02)

    def pause(self) -> list[int]:
        """Stop the host and its workers, as a frozen container; return their pids, for `wake`."""
        # The host first: from then on nobody reaps a worker that ends, so that its pid stays its own.
        self.send_signal(signal.SIGSTOP)
        pids = [*self.worker_pids, self.process.pid]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        return pids

    def kill_worker(self, number: int = signal.SIGKILL) -> int:
        """Send a signal to the oldest worker and return its pid."""
        pid = self.worker_pids[0]
        os.kill(pid, number)
        return pid

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._line_arrived:
                self._lines.append(line)
                self._line_arrived.notify_all()
        with self._line_arrived:
            self._line_arrived.notify_all()

    def __enter__(self) -> Self:
        return self.start() if self._process is None else self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def wake(pids: Sequence[int]) -> None:
    """Let processes that were paused go on; those that have ended since are left alone."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def is_alive(process: psutil.Process) -> bool:
    """Tell whether a process runs: where the first process of a container reaps nobody, orphans stay as zombies."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def eventually[T](probe: Callable[[], Awaitable[T]], seconds: float = DEADLINE_SECONDS) -> T:
    """Ask `probe` again and again until it answers something true; fail when the time is up."""
    deadline = time.monotonic() + seconds
    while True:
        answer = await probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{probe} had not come true after {seconds:g} s; its last answer was {answer!r}")
        await asyncio.sleep(0.05)
