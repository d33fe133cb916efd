"""Azurite as a child process on free ports, for tests of the storage layer itself.

It refuses to kill: Azurite loses what it acknowledged when it is not asked to stop.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[1]

#: Azurite's one account: public, documented and the same everywhere.
ACCOUNT_NAME = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def find_azurite() -> Path | None:
    """Return the program: that of the environment variable AZURITE_BIN, else the one that `npm ci` installed."""
    program = Path(os.environ.get("AZURITE_BIN") or _REPOSITORY / "node_modules/.bin/azurite")
    return program if program.exists() else None


def connection_string(blob_endpoint: str, queue_endpoint: str) -> str:
    """Return the connection string of Azurite's account behind these endpoints."""
    return (
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT_NAME};AccountKey={ACCOUNT_KEY};"
        f"BlobEndpoint={blob_endpoint}/{ACCOUNT_NAME};QueueEndpoint={queue_endpoint}/{ACCOUNT_NAME};"
    )


@contextmanager
def running_azurite(program: Path, folder: Path) -> Iterator[str]:
    """Run Azurite with its data in `folder`; yield its connection string."""
    ports = ("--blobPort", "0", "--queuePort", "0", "--tablePort", "0")
    options = ("--disableTelemetry", "--silent", "--location", str(folder))
    with subprocess.Popen(
        [program, *options, *ports], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as azurite:
        try:
            yield connection_string(*_read_endpoints(azurite))
        finally:
            azurite.terminate()
            azurite.communicate()


def _read_endpoints(azurite: subprocess.Popen[str]) -> tuple[str, str]:
    endpoints: dict[str, str] = {}
    printed = []
    for line in azurite.stdout or ():
        printed.append(line)
        if listening := re.search(r"(Blob|Queue) service is successfully listening at (\S+)", line):
            endpoints[listening[1]] = listening[2]
        if len(endpoints) == 2:
            return endpoints["Blob"], endpoints["Queue"]
    raise RuntimeError("Azurite ended before it listened: " + "".join(printed))
