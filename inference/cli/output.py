"""What commands print: results on stdout, everything said to a person on stderr; it refuses to fetch anything."""

from __future__ import annotations

import codecs
import json
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any

#: What steers a terminal: an id, a url or a label that others chose may hold it.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def open_streams() -> None:
    """Make stdout and stderr take every text: what they lack a character for is printed as its escape.

    A terminal of another locale has not all of them, and a file name may be no text at all. What was closed is nowhere.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 -- until the program ends
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_json(value: object) -> None:
    """Print one JSON document on a line of its own: in UTF-8, or in ASCII where stdout is not that."""
    text = json.dumps(value, ensure_ascii=codecs.lookup(sys.stdout.encoding).name != "utf-8")
    print(text, flush=True)


def note(text: str) -> None:
    """Say something to the person at the terminal."""
    print(text, file=sys.stderr)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a plain table, numbers aligned to the right. Nothing is cut: a long line is the terminal's to wrap."""
    from rich.cells import cell_len

    body = [list(row) for row in rows]
    lines = [[*columns], *([printable(cell) for cell in row] for row in body)]
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
        print(f"{name:<{width}}  {printable(value)}")


def write_chunks(chunks: Iterable[bytes], path: Path | None) -> None:
    """Write bytes as they come to stdout, or to `path`; a file is there, or replaced, once all of it has come."""
    if path is None:
        sys.stdout.buffer.writelines(chunks)
        sys.stdout.buffer.flush()
        return
    if path.exists() and not path.is_file():  # a pipe or a device
        _write(chunks, path)
        return
    target = path.resolve()
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        _write(chunks, partial)
        partial.replace(target)
    except BaseException as exc:
        if isinstance(exc, OSError) and exc.filename is not None:
            exc.filename = str(path)  # the name that its user gave
        with suppress(OSError):
            partial.unlink()
        raise


def _write(chunks: Iterable[bytes], path: Path) -> None:
    with path.open("wb") as file:
        file.writelines(chunks)


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
    text = f"{printable(prediction.get('label', '?'))}  {prediction.get('score', 0):.4f}"
    if "xmin" in prediction:
        corners = [round(prediction[side]) for side in ("xmin", "ymin", "xmax", "ymax")]
        text += "  ({}, {}) to ({}, {})".format(*corners)
    return text


def printable(value: object) -> str:
    """Return a value as a terminal may be shown it: nothing for None, U+FFFD for what would steer the terminal."""
    return "" if value is None else _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", str(value))
