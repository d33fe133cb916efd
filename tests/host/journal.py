"""The journal that a test's function app keeps of its invocations, and the reading of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hosting import eventually

Entry = dict[str, Any]

#: Goes at the top of a test's function app: `note(**facts)` appends a line to the file in the setting JOURNAL;
#: `gate()` waits until the test opens the gate.
PREAMBLE = """
import asyncio, json, os, time
from pathlib import Path
import azure.functions as func

JOURNAL = Path(os.environ["JOURNAL"])

def note(**facts):
    with JOURNAL.open("a") as journal:
        journal.write(json.dumps({"time": time.time(), "pid": os.getpid(), **facts}) + "\\n")

async def gate():
    while not JOURNAL.with_suffix(".gate").exists():
        await asyncio.sleep(0.02)

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
"""


class Journal:
    """What the functions of one app noted, in order."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal"

    @property
    def setting(self) -> dict[str, str]:
        return {"JOURNAL": str(self.path)}

    def open_gate(self) -> None:
        self.path.with_suffix(".gate").touch()

    def entries(self, **wanted: Any) -> list[Entry]:
        """The entries in which these facts hold."""
        written, _, _ = (self.path.read_text() if self.path.exists() else "").rpartition("\n")
        noted = [json.loads(line) for line in written.splitlines()]  # a long one may be half written yet
        return [entry for entry in noted if all(entry.get(name) == value for name, value in wanted.items())]

    async def wait_for(self, number: int, **wanted: Any) -> list[Entry]:
        """Wait until there are at least `number` such entries."""
        return await self.wait_until(lambda entries: len(entries) >= number, **wanted)

    async def wait_until(self, is_enough: Callable[[list[Entry]], bool], **wanted: Any) -> list[Entry]:
        async def enough() -> list[Entry]:
            entries = self.entries(**wanted)
            return entries if is_enough(entries) else []

        return await eventually(enough)
