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
from inference.storage import BlobNotFound, BlobProperties, BlobStore, PreconditionFailed

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
#: What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection); the wide ones in Japanese.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


async def find_results(results: BlobStore, batch_id: str) -> BlobProperties:
    """Return the properties of `results.jsonl`. Raises NotFound when the batch has not ended."""
    found = await results.properties(layout.results(batch_id))
    if found is None:
        raise NotFound("The batch has no results yet; its status tells how far it is, or why none will come.")
    return found


async def read_range(results: BlobStore, found: BlobProperties, first: int, length: int) -> bytes:
    """Return bytes [first, first + length) of the results that `find_results` found. Raises StorageUnavailable."""
    try:
        return await results.read_range(found.name, first, length, if_match=found.etag)
    except (PreconditionFailed, BlobNotFound):
        raise _written_anew() from None


async def read_results(results: BlobStore, batch_id: str) -> AsyncIterator[bytes]:
    """Yield `results.jsonl`. Raises NotFound before the first row when the batch has not ended."""
    found = await find_results(results, batch_id)
    try:
        async for chunk in results.stream(found.name, if_match=found.etag):
            yield chunk
    except (PreconditionFailed, BlobNotFound):
        raise _written_anew() from None


def _written_anew() -> StorageUnavailable:
    return StorageUnavailable("The results were written anew while they were read; read them again.")


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
