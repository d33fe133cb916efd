"""What commands print: results on stdout, everything said to a person on stderr; it refuses to fetch anything."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: Wide enough that a table sent to a file or a pipe is never cut.
_UNBOUNDED_WIDTH = 10_000


def print_json(value: object) -> None:
    """Print one JSON document on a line of its own."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Say something to the person at the terminal."""
    print(text, file=sys.stderr)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a plain table; numbers are aligned to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    body = [list(row) for row in rows]
    for index, column in enumerate(columns):
        is_number = bool(body) and all(isinstance(row[index], int | float) for row in body)
        table.add_column(column, justify="right" if is_number else "left", no_wrap=index == 0)
    for row in body:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    console = Console(width=None if sys.stdout.isatty() else _UNBOUNDED_WIDTH, highlight=False)
    console.print(table)


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Print `name  value` lines, the values in one column."""
    shown = [(name, value) for name, value in fields if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        print(f"{name:<{width}}  {value}")


def write_chunks(chunks: Iterable[bytes], path: Path | None) -> None:
    """Write bytes as they come to `path`, or to stdout."""
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
    text = f"{prediction.get('label', '?')}  {prediction.get('score', 0):.4f}"
    if "xmin" in prediction:
        corners = [round(prediction[side]) for side in ("xmin", "ymin", "xmax", "ymax")]
        text += "  ({}, {}) to ({}, {})".format(*corners)
    return text
