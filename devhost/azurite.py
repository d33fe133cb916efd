"""Owns an Azurite child process: finds it, starts it on given or free ports, waits until it answers, stops it gently.

It never kills: Azurite writes what it acknowledged some seconds later, and at SIGTERM.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from devhost.errors import ConfigurationError, HostError

BLOB_PORT, QUEUE_PORT, TABLE_PORT = 10000, 10001, 10002

ACCOUNT = "devstoreaccount1"
#: The emulator's published key; it protects nothing.
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

START_SECONDS = 30.0


def is_listening(port: int, host: str = "127.0.0.1") -> bool:
    """Say whether something accepts connections on a port."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


def find_executable(folders: Sequence[Path]) -> Path:
    """Find Azurite's command as `npm ci` installs it below one of `folders`. Raises ConfigurationError."""
    for folder in folders:
        candidate = folder / "node_modules" / ".bin" / "azurite"
        if candidate.exists():
            return candidate
    raise ConfigurationError(
        "Azurite is not installed, and AzureWebJobsStorage is UseDevelopmentStorage=true: run `make setup`."
    )


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Azurite:
    """Azurite with its data in `location`; port 0 means a free one. A context manager, or `start` and `stop`."""

    def __init__(
        self,
        location: Path,
        *,
        blob_port: int = 0,
        queue_port: int = 0,
        table_port: int = 0,
        executable: Path | None = None,
    ) -> None:
        self._location = location
        self._executable = executable
        self._given_ports = (blob_port, queue_port, table_port)
        self.blob_port, self.queue_port, self.table_port = self._given_ports
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def connection_string(self) -> str:
        """The explicit connection string of the account on these ports."""
        endpoints = {"Blob": self.blob_port, "Queue": self.queue_port, "Table": self.table_port}
        services = "".join(f"{name}Endpoint=http://127.0.0.1:{port}/{ACCOUNT};" for name, port in endpoints.items())
        return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};{services}"

    def launch(self) -> None:
        """Start the process without waiting for it."""
        executable = self._executable or find_executable([Path.cwd(), Path(__file__).resolve().parents[1]])
        self._location.mkdir(parents=True, exist_ok=True)
        self.blob_port, self.queue_port, self.table_port = (port or free_port() for port in self._given_ports)
        command = [str(executable), "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
        command += ["--location", str(self._location)]
        command += ["--blobPort", str(self.blob_port), "--queuePort", str(self.queue_port)]
        command += ["--tablePort", str(self.table_port)]
        with (self._location / "azurite.log").open("ab") as output:
            # Its own session: Ctrl-C in a terminal must not stop storage before the host has drained.
            self._process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)

    def wait_until_ready(self) -> None:
        """Wait until blobs and queues answer. Raises HostError when Azurite ends or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if self._process is None or self._process.poll() is not None:
                raise HostError(f"Azurite ended at its start; see {self._location / 'azurite.log'}.")
            if time.monotonic() > deadline:
                self.stop()
                raise HostError(f"Azurite did not answer within {START_SECONDS:g} s.")
            time.sleep(0.05)

    def is_ready(self) -> bool:
        return is_listening(self.blob_port) and is_listening(self.queue_port)

    def start(self) -> Self:
        """Start and wait until it answers."""
        self.launch()
        self.wait_until_ready()
        return self

    def stop(self) -> None:
        """Ask it to end (SIGTERM) and wait until it has saved its data."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGTERM)
        self._process.wait()
        self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
