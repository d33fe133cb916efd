"""Owns the row, an item's outcome so far, and every way in which it may change; it refuses to store rows.

A row belongs to a round (of replay) and, while pending, to a turn (of the chain of messages of its shard): together
a logical clock, so that nothing here depends on the time of day.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import orjson
from msgspec import Struct
from msgspec.structs import replace

from inference.batch.ports import ModelPin
from inference.batch.retry import Again, Final, RowError

#: Separates what the contract promises of a row from what the batch path keeps with it. It stands last in a line,
#: and in JSON text a quote is escaped, so its last occurrence is the real one, whatever the predictions hold.
_LEDGER_MARK = b',"ledger":'


class RowStatus(StrEnum):
    """Where an item stands."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Row(Struct, frozen=True):
    """One item's outcome so far."""

    index: int
    id: str
    #: Redacted; the real one stands in the manifest only.
    url: str
    status: RowStatus = RowStatus.PENDING
    #: Over all rounds; `tries` counts this round's.
    attempts: int = 0
    tries: int = 0
    model: str = ""
    version: str = ""
    predictions: Any = None
    error: RowError | None = None
    round: int = 0
    turn: int = 0
    #: Seconds that must pass before the next attempt, counted from the sending of the message of `turn`.
    wait_seconds: float = 0.0
    first_at: str = ""
    last_at: str = ""
    trace_id: str = ""
    history: tuple[Mapping[str, Any], ...] = ()
    is_purged: bool = False

    @property
    def is_pending(self) -> bool:
        """Whether the item still has to be scored."""
        return self.status is RowStatus.PENDING

    @property
    def is_dead(self) -> bool:
        """Whether the item has a dead letter."""
        return self.status is RowStatus.FAILED and not self.is_purged

    @property
    def clock(self) -> tuple[int, int]:
        """The message that comes next for this row; an earlier one finds its work done."""
        return self.round, self.turn


class Attempt(Struct, frozen=True):
    """What an attempt was part of: when, by which model, in which trace."""

    at: str
    pin: ModelPin
    trace_id: str


def succeed(row: Row, predictions: Any, attempt: Attempt) -> Row:
    """Return the row with its predictions."""
    return replace(
        _tried(row, attempt),
        status=RowStatus.SUCCEEDED,
        model=attempt.pin.name,
        version=attempt.pin.version,
        predictions=predictions,
        error=None,
        wait_seconds=0.0,
    )


def judge(row: Row, verdict: Final | Again, attempt: Attempt) -> Row:
    """Return the row after an attempt that failed."""
    if isinstance(verdict, Final):
        return replace(_tried(row, attempt), status=RowStatus.FAILED, error=verdict.error, wait_seconds=0.0)
    if verdict.is_charged:
        tried = _tried(row, attempt)
        return replace(tried, error=verdict.error, turn=row.turn + 1, wait_seconds=verdict.wait_seconds)
    return replace(row, turn=row.turn + 1, wait_seconds=verdict.wait_seconds)


def give_up(row: Row, error: RowError, attempt: Attempt) -> Row:
    """Return the row as failed without a further attempt: cancelled, over the threshold, or its worker was lost."""
    return replace(
        row,
        status=RowStatus.FAILED,
        error=error,
        wait_seconds=0.0,
        first_at=row.first_at or attempt.at,
        last_at=attempt.at,
        trace_id=attempt.trace_id,
    )


def pass_turn(row: Row, delay_seconds: float) -> Row:
    """Return a pending row that this message did not try: `delay_seconds` of its wait are over."""
    return replace(row, turn=row.turn + 1, wait_seconds=max(0.0, row.wait_seconds - delay_seconds))


def reopen(row: Row, round_: int) -> Row:
    """Return a failed row opened for a round of replay; any other row, or one that this round had, unchanged."""
    if not row.is_dead or row.round >= round_ or row.error is None:
        return row
    past = {
        "round": row.round,
        "code": row.error.code,
        "message": row.error.message,
        "attempts": row.attempts,
        "first_at": row.first_at,
        "last_at": row.last_at,
        "trace_id": row.trace_id,
    }
    return Row(row.index, row.id, row.url, attempts=row.attempts, round=round_, history=(*row.history, past))


def newer(stored: Row, mine: Row) -> Row:
    """Return which of two versions of a row counts: the later round; in a round the final one that came first."""
    if stored.round != mine.round:
        return max(stored, mine, key=lambda row: row.round)
    if not stored.is_pending:
        return stored
    if not mine.is_pending or (mine.turn, mine.attempts) > (stored.turn, stored.attempts):
        # Whoever did not find the manifest any more knows nothing but the index; somebody else may have known.
        return mine if mine.url else replace(mine, id=stored.id, url=stored.url)
    return stored


def encode(row: Row) -> bytes:
    """Return the row's line in a part: what the contract promises, then the ledger."""
    return orjson.dumps({**_public(row), "ledger": _ledger(row)})


def strip(line: bytes) -> bytes:
    """Return a final row's line in the results: without the ledger and without parsing (ten million rows)."""
    return line.rpartition(_LEDGER_MARK)[0] + b"}"


def decode(line: bytes) -> Row:
    """Read a line that `encode` made."""
    value = orjson.loads(line)
    ledger = value["ledger"]
    error = value.get("error")
    return Row(
        index=value["index"],
        id=value["id"],
        url=value["url"],
        status=RowStatus(value["status"]),
        attempts=value["attempts"],
        model=value.get("model", ""),
        version=value.get("version", ""),
        predictions=value.get("predictions"),
        error=RowError(error["code"], error["message"], error["retryable"]) if error else None,
        history=tuple(ledger.pop("history", ())),
        **ledger,
    )


def _public(row: Row) -> dict[str, Any]:
    """Return what the contract promises of a row."""
    value: dict[str, Any] = {"index": row.index, "id": row.id, "url": row.url, "status": row.status.value}
    if row.status is RowStatus.SUCCEEDED:
        value |= {"model": row.model, "version": row.version, "predictions": row.predictions}
    elif row.error is not None:
        error = row.error
        value["error"] = {"code": error.code, "message": error.message, "retryable": error.retryable}
    return {**value, "attempts": row.attempts}


def _ledger(row: Row) -> dict[str, Any]:
    value = {
        "round": row.round,
        "turn": row.turn,
        "tries": row.tries,
        "wait_seconds": math.ceil(row.wait_seconds * 1000) / 1000,
        "first_at": row.first_at,
        "last_at": row.last_at,
        "trace_id": row.trace_id,
        "history": list(row.history),
        "is_purged": row.is_purged,
    }
    return {name: part for name, part in value.items() if part}


def _tried(row: Row, attempt: Attempt) -> Row:
    return replace(
        row,
        attempts=row.attempts + 1,
        tries=row.tries + 1,
        first_at=row.first_at or attempt.at,
        last_at=attempt.at,
        trace_id=attempt.trace_id,
    )
