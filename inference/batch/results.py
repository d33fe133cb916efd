"""Owns the reading of a batch's results, as they are or as a table for spreadsheets; it refuses unfinished ones."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson

from inference.batch import layout
from inference.errors import NotFound, StorageUnavailable
from inference.storage import BlobNotFound, BlobStore, PreconditionFailed

COLUMNS = (
    "index",
    "id",
    "url",
    "status",
    "label",
    "score",
    "model",
    "version",
    "attempts",
    "error_code",
    "error_message",
    "predictions",
)
#: What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection).
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


async def read_results(results: BlobStore, batch_id: str) -> AsyncIterator[bytes]:
    """Yield `results.jsonl`. Raises NotFound before the first row when the batch has not ended."""
    name = layout.results(batch_id)
    found = await results.properties(name)
    if found is None:
        raise NotFound("The batch has no results yet; its status tells how far it is, or why none will come.")
    try:
        async for chunk in results.stream(name, if_match=found.etag):
            yield chunk
    except (PreconditionFailed, BlobNotFound):
        raise StorageUnavailable("The results were written anew while they were read; read them again.") from None


async def read_table(results: BlobStore, batch_id: str) -> AsyncIterator[bytes]:
    """Yield the results as CSV with a header; no cell begins a formula. Raises NotFound."""
    rest = b""
    header: Sequence[Sequence[object]] = [COLUMNS]
    async for chunk in read_results(results, batch_id):
        *lines, rest = (rest + chunk).split(b"\n")
        # On a thread: a block of storage's is ten thousand rows, and while they are written others want an answer.
        yield await asyncio.to_thread(_table, header, lines)
        header = []


def _table(header: Sequence[Sequence[object]], lines: Sequence[bytes]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([*header, *(_cells(orjson.loads(line)) for line in lines)])
    return text.getvalue().encode()


def _cells(row: dict[str, Any]) -> list[object]:
    predictions = row.get("predictions")
    best = predictions[0] if isinstance(predictions, list) and predictions else {}
    best = best if isinstance(best, dict) else {}
    error = row.get("error") or {}
    cells = (
        row["index"],
        row["id"],
        row["url"],
        row["status"],
        best.get("label"),
        best.get("score"),
        row.get("model"),
        row.get("version"),
        row["attempts"],
        error.get("code"),
        error.get("message"),
        orjson.dumps(predictions).decode() if predictions is not None else None,
    )
    return [_without_formula(cell) for cell in cells]


def _without_formula(cell: object) -> object:
    if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS):
        return f"'{cell}"
    return cell
