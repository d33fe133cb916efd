"""The table of `model.toml` in the docs names exactly the keys that are read, and its examples are valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec import Struct

from inference.models.declaration import (
    Declaration,
    DeclaredDetection,
    DeclaredExecution,
    DeclaredInput,
    DeclaredOutput,
    parse_declaration,
)

PAGE = (Path(__file__).parents[3] / "docs/reference/model-toml.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
TABLES: dict[str, type[Struct]] = {
    "input": DeclaredInput,
    "output": DeclaredOutput,
    "detection": DeclaredDetection,
    "execution": DeclaredExecution,
}


def test_every_key_is_in_the_table_and_no_other() -> None:
    rows = re.findall(
        r"^\| (`(?:task`|(?:input|output|detection|execution)\.)[^|]*) \|[^|\n]+\|[^|\n]+\|$", PAGE, re.MULTILINE
    )
    documented = set()
    for row in rows:
        table = ""
        for name in re.findall(r"`([^`]+)`", row):
            table = name.partition(".")[0] or table
            documented.add(f"{table}{name}" if name.startswith(".") else name)

    keys = {f"{table}.{name}" for table, model in TABLES.items() for name in model.__struct_fields__}
    assert documented == keys | (set(Declaration.__struct_fields__) - TABLES.keys())


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_are_valid(example: str) -> None:
    parse_declaration(example.encode())


def test_there_is_an_example_of_every_task_with_predictions() -> None:
    assert {parse_declaration(example.encode()).task for example in EXAMPLES} >= {"classification", "detection", "text"}
