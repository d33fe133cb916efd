"""Owns an Azurite child process: finds it, starts it on given or free ports, waits until it answers, stops it gently.

It never kills: Azurite writes what it acknowledged some seconds later, and at SIGTERM.
"""

import contextlib
import re
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from devhost.errors import ConfigurationError, HostError

BLOB_PORT, QUEUE_PORT, TABLE_PORT = 10000, 10001, 10002

ACCOUNT = "devstoreaccount1"
#: The emulator's published key; it protects nothing.
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

START_SECONDS = 60.0

_LISTENING = re.compile(r"Azurite (\w+) service (?:is )?successfully listen(?:s|ing) (?:at|on) (http://\S+)")
_SERVICES = ("Blob", "Queue", "Table")


def is_development_storage(connection_string: str) -> bool:
    """Say whether a connection string means Azurite on its default ports; the real host takes it in any case."""
    return connection_string.strip().rstrip(";").lower() == "usedevelopmentstorage=true"


def is_listening(port: int) -> bool:
    """Say whether something on this machine accepts connections on a port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
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


class Azurite:
    """Azurite with its data in `location`. A context manager, or `start` and `stop`.

    Port 0 is a free one, kept over a restart, so that the connection string stays the same.
    """

    def __init__(
        self, location: Path, *, executable: Path, blob_port: int = 0, queue_port: int = 0, table_port: int = 0
    ) -> None:
        self._location = location
        self._executable = executable
        self._ports = {"blob": blob_port, "queue": queue_port, "table": table_port}
        self._log = location / "azurite.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._endpoints: dict[str, str] = {}

    @property
    def connection_string(self) -> str:
        """The explicit connection string of its account. Raises HostError before it has started."""
        if not self._endpoints:
            raise HostError("Azurite has not started.")
        services = "".join(f"{name}Endpoint={self._endpoints[name]}/{ACCOUNT};" for name in _SERVICES)
        return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};{services}"

    def launch(self) -> None:
        """Start the process without waiting for it. Raises ConfigurationError where its folder cannot be written."""
        self._endpoints = {}
        command = [str(self._executable), "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
        command += ["--location", str(self._location)]
        for service, port in self._ports.items():
            command += [f"--{service}Port", str(port)]
        with self._open_log() as output:
            # Its own session: Ctrl-C in a terminal must not stop storage before the host has drained.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )

    def _open_log(self) -> BinaryIO:
        try:
            self._location.mkdir(parents=True, exist_ok=True)
            return self._log.open("wb")
        except OSError as error:  # a checkout that is read-only, or in which somebody else ran it
            raise ConfigurationError(
                f"Azurite, the storage emulator, cannot write into {self._location}: {error.strerror}."
            ) from error

    def wait_until_ready(self) -> None:
        """Wait until every service listens. Raises HostError when Azurite ends or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while len(self._endpoints) < len(_SERVICES):
            self._endpoints = dict(_LISTENING.findall(self._log.read_text(errors="replace")))
            if self._process is None or self._process.poll() is not None:
                raise HostError(f"Azurite ended at its start; see {self._log}.")
            if time.monotonic() > deadline:
                self.stop()
                raise HostError(f"Azurite did not answer within {START_SECONDS:g} s; see {self._log}.")
            time.sleep(0.02)
        self._ports = {name.lower(): int(url.rpartition(":")[2]) for name, url in self._endpoints.items()}

    def start(self) -> Self:
        """Start and wait until it answers."""
        self.launch()
        try:
            self.wait_until_ready()
        except BaseException:  # Ctrl-C too: it is in a session of its own, and nobody else knows of it
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ask it to end (SIGTERM) and wait until it has saved its data."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
