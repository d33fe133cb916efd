"""docs/reference/cli.md holds every command and option of the program, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from inference.cli.main import app

PAGE = (Path(__file__).resolve().parents[3] / "docs/reference/cli.md").read_text()


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each command with the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands(typer.main.get_command(app)))
OPTIONS = {option for command in COMMANDS.values() for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_is_in_its_section(words: tuple[str, ...]) -> None:
    section = PAGE.partition(f"## onnxfn {words[0]}")[2].partition("\n## ")[0]

    assert section
    if len(words) > 1:
        assert re.search(rf"\*\*`{words[1]}\b", section)


def test_options_are_those_of_the_program() -> None:
    documented = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", PAGE))
    offered = {option for option in OPTIONS if option.startswith("-")}

    assert documented - {"--help", "-h"} == offered - {"--help", "-h"}
