"""What commands print: results on stdout, everything said to a person on stderr; it refuses to fetch anything."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

#: What steers a terminal: an id, a url or a label that others chose may hold it.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def print_json(value: object) -> None:
    """Print one JSON document on a line of its own."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def note(text: str) -> None:
    """Say something to the person at the terminal."""
    print(text, file=sys.stderr)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a plain table, numbers aligned to the right. Nothing is cut: a long line is the terminal's to wrap."""
    from rich.cells import cell_len

    body = [list(row) for row in rows]
    lines = [[*columns], *([_printable(cell) for cell in row] for row in body)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    are_numbers = [
        bool(body) and all(isinstance(row[index], int | float) for row in body) for index in range(len(columns))
    ]
    for line in lines:
        padded = []
        for cell, width, is_number in zip(line, widths, are_numbers, strict=True):
            space = " " * (width - cell_len(cell))
            padded.append(space + cell if is_number else cell + space)
        print("  ".join(padded).rstrip())


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Print `name  value` lines, the values in one column."""
    shown = [(name, value) for name, value in fields if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        print(f"{name:<{width}}  {_printable(value)}")


def write_chunks(chunks: Iterator[bytes], path: Path | None) -> None:
    """Write bytes as they come to `path`, or to stdout. A refusal, which comes before the first ones, makes no file."""
    chunks = chain([next(chunks, b"")], chunks)
    if path is None:
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return
    with path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)


@contextmanager
def progress_bytes(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal while `total` bytes are worked off; yields what to tell of each further number."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task(what, total=total)
        yield lambda advanced: progress.update(bar, advance=advanced)


def format_prediction(prediction: dict[str, Any]) -> str:
    """Return a prediction as a person reads it: label, score, and the box of a detection."""
    text = f"{_printable(prediction.get('label', '?'))}  {prediction.get('score', 0):.4f}"
    if "xmin" in prediction:
        corners = [round(prediction[side]) for side in ("xmin", "ymin", "xmax", "ymax")]
        text += "  ({}, {}) to ({}, {})".format(*corners)
    return text


def _printable(value: object) -> str:
    """Return a value as a terminal may be shown it: nothing for None, U+FFFD for what would steer the terminal."""
    return "" if value is None else _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", str(value))
