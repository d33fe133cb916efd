"""The page of guarantees names tests that exist, and every test of faults."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_guarantees_names_every_test_of_a_fault_and_no_other() -> None:
    page = (ROOT / "docs/reference/guarantees.md").read_text()
    named = set(re.findall(r"`(tests/faults/test_\w+\.py::test_\w+)`", page))
    there = {
        f"{path.relative_to(ROOT)}::{name}"
        for path in Path(__file__).parent.glob("test_*.py")
        if path != Path(__file__)
        for name in re.findall(r"^async def (test_\w+)", path.read_text(), re.MULTILINE)
    }

    assert named == there
    for path in re.findall(r"`(tests/[\w/]+\.py)`", page):
        assert (ROOT / path).exists()
