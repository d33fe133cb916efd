"""Owns the table of what a manifest's size costs: lines a second by form and stage, memory, status, end.

    python -m benchmarks.manifest [--lines 1000000] [--shards 10000] [--form jsonl] [--skip-shards]

Each measurement is a fresh process on one Azurite. Memory is told as more than what 1,000 lines, or 100 shards, take.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.batch.calls import counted
from benchmarks.batch.workloads import ROOT
from benchmarks.ending import end_on_termination
from benchmarks.manifest.expansion import STAGES
from benchmarks.manifest.forms import FORMS, write_manifest
from devhost.azurite import Azurite

_FEW_LINES, _FEW_SHARDS = 1_000, 100
_ROWS = 10


def run(module: str, *arguments: object) -> dict[str, Any]:
    """Run one measurement and return what it printed."""
    command = [sys.executable, "-m", f"benchmarks.manifest.{module}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def print_form(form: str, lines: int, storage: str, folder: Path) -> None:
    """Print lines a second and memory of each stage of one form."""
    few, many = (write_manifest(folder / f"{form}-{count}", form, count) for count in (_FEW_LINES, lines))
    for stage in STAGES:
        base, found = run("expansion", stage, few, storage), run("expansion", stage, many, storage)
        assert found["items"] == lines, found
        text = f"  {form:9} {stage:12} {lines / found['seconds']:>9,.0f} lines/s"
        text += f"   +{found['peak_mib'] - base['peak_mib']:.0f} MiB over {base['peak_mib']:.0f}"
        if stage == "expand":
            checked = found["seconds"] - found["message_seconds"]
            text += f"   ({lines / checked:,.0f} lines/s until the record stands, then "
            text += f"{found['messages'] / found['message_seconds']:,.0f} messages/s)"
        print(text, flush=True)
    many.unlink()


def print_shards(shards: int, storage: str) -> None:
    """Print what the status and the end of a batch of many shards take, and the calls of one status."""
    for count in (_FEW_SHARDS, shards):
        batch_id = run("survey", "prepare", count, _ROWS, storage)["batch_id"]
        with counted(storage) as (relayed, calls):
            run("survey", "look", count, _ROWS, relayed, "--batch", batch_id)
            made = ", ".join(f"{number} {call}" for call, number in calls.items())
        for step in ("look", "finish"):
            found = run("survey", step, count, _ROWS, storage, "--batch", batch_id)
            print(f"  {count:6} shards: {step:6} {found['seconds']:7.3f} s, {found['peak_mib']:.0f} MiB", flush=True)
        print(f"         calls of five looks in a fresh process: {made}")


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.manifest", description=__doc__.partition("\n")[0])
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--form", choices=FORMS, action="append", help="default: all")
    parser.add_argument("--skip-shards", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="onnxfn-manifest-") as folder:
        executable = ROOT / "node_modules/.bin/azurite"
        with Azurite(Path(folder) / "azurite", executable=executable) as azurite:
            storage = azurite.connection_string
            print(f"{options.lines} lines, shards of 100", flush=True)
            for form in options.form or FORMS:
                print_form(form, options.lines, storage, Path(folder))
            if not options.skip_shards:
                print(f"shards of {_ROWS} rows, all scored", flush=True)
                print_shards(options.shards, storage)


if __name__ == "__main__":
    end_on_termination()
    main()
