"""Owns manifests of any length in each form that is accepted; it refuses to hold one in memory."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

_LINES_AT_ONCE = 10_000

_HEADERS = {"csv": b"id,url\n"}
_LINES = {
    "jsonl": '{"id": "item-%d", "url": "https://images.example/photos/2026/11/%08d.jpg"}\n',
    "csv": "item-%d,https://images.example/photos/2026/11/%08d.jpg\n",
    "urls": "https://images.example/photos/2026/%d/%08d.jpg\n",
}
#: JSON Lines, CSV and plain urls, each also as gzip.
FORMS = tuple(f"{name}{packing}" for name in _LINES for packing in ("", ".gz"))


def write_manifest(path: Path, form: str, lines: int) -> Path:
    """Write a manifest of so many images; return its path."""
    name = form.removesuffix(".gz")
    with path.open("wb") as raw:
        file = gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1, mtime=0) if form.endswith(".gz") else raw
        with file:
            file.write(_HEADERS.get(name, b""))
            for some in _some_lines(_LINES[name], lines):
                file.write(some)
    return path


def _some_lines(line: str, count: int) -> Iterator[bytes]:
    for start in range(0, count, _LINES_AT_ONCE):
        yield "".join([line % (index, index) for index in range(start, min(start + _LINES_AT_ONCE, count))]).encode()
