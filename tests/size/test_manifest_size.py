"""A manifest of a million lines takes no more memory than a small one: in a process of its own, against Azurite."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from benchmarks.manifest.forms import write_manifest

ROOT = Path(__file__).parents[2]
FEW, MANY = 1_000, 1_000_000
#: The issue's bound, over what a thousand lines take.
ALLOWANCE_MIB = 64


@cache
def expand(manifest: Path, storage: str, mini_batch_size: int) -> dict[str, Any]:
    """Expand a manifest by pointer, as the service does, in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.manifest.expansion", "expand", str(manifest), storage]
    command += ["--mini-batch-size", str(mini_batch_size)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("form", ["jsonl.gz", "csv", "urls"])
def test_a_million_lines_are_split_in_the_memory_of_a_thousand(form: str, azurite: str, tmp_path: Path) -> None:
    few = expand(write_manifest(tmp_path / "few", form, FEW), azurite, 10_000)
    many = expand(write_manifest(tmp_path / "many", form, MANY), azurite, 10_000)

    assert (few["items"], few["messages"]) == (FEW, 1)
    assert (many["items"], many["messages"]) == (MANY, 100)
    assert many["peak_mib"] - few["peak_mib"] < ALLOWANCE_MIB
