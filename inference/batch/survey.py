"""Owns the counting of a batch from what stands in storage: parts, replays, summary. Nothing else counts.

It refuses to keep a counter anywhere: a count that is derived cannot drift.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

import orjson
from msgspec import Struct, field

from inference.batch import layout
from inference.batch.parts import PartCounts, PartStore
from inference.batch.record import BatchRecord
from inference.errors import BatchCancelled
from inference.schema import Record
from inference.storage import BlobProperties


class BatchState(StrEnum):
    """What a batch is doing, or how it ended."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Survey(Struct):
    """The sum of a batch's parts at one moment."""

    total: int
    shards: int
    parts: dict[int, PartCounts] = field(default_factory=dict)
    succeeded: int = 0
    failed: int = 0
    turns: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    first_modified: datetime | None = None
    last_modified: datetime | None = None

    @classmethod
    async def of(cls, record: BatchRecord, parts: PartStore) -> Self:
        """Count by listing: one call for each 5,000 shards."""
        survey = cls(record.total, record.shards)
        async for counts in parts.list(record.batch_id):
            survey._add(counts)
        return survey

    def _add(self, counts: PartCounts) -> None:
        self.parts[counts.shard] = counts
        self.succeeded += counts.succeeded
        self.failed += counts.failed
        self.turns += counts.turn
        self.errors.update(counts.errors)
        self.first_modified = min(self.first_modified or counts.last_modified, counts.last_modified)
        self.last_modified = max(self.last_modified or counts.last_modified, counts.last_modified)

    @property
    def done(self) -> int:
        """Items that have a final row."""
        return self.succeeded + self.failed

    @property
    def pending(self) -> int:
        """Items that have none."""
        return self.total - self.done

    @property
    def is_complete(self) -> bool:
        """Whether every item has a final row."""
        return self.pending == 0 and len(self.parts) == self.shards

    def updated_at(self, record: BatchRecord) -> str:
        """Return when the last part was written; not before the batch was made, as storage tells whole seconds."""
        return max(self.last_modified.isoformat() if self.last_modified else "", record.created_at)


def end_state(error_threshold: int, failed: int, errors: Mapping[str, int]) -> BatchState:
    """Return how a batch with these final rows has ended; rows alone decide, so everybody finds the same."""
    if errors.get(BatchCancelled.code):
        return BatchState.CANCELLED
    if 0 <= error_threshold < failed:
        return BatchState.FAILED
    return BatchState.SUCCEEDED


class Summary(Record, frozen=True, kw_only=True):
    """`summary.json`: a batch that has ended, as of a round of replay."""

    v: int = 1
    batch_id: str
    state: BatchState
    total: int
    succeeded: int
    failed: int
    errors: dict[str, int]
    model: str
    version: str
    sha256: str
    round: int
    created_at: str
    ended_at: str
    results: str

    @classmethod
    def of(cls, record: BatchRecord, survey: Survey, round_: int) -> Self:
        """Sum up a complete batch. Two that do so write the same bytes: even the time is the last part's."""
        errors = dict(sorted(survey.errors.items()))
        return cls(
            batch_id=record.batch_id,
            state=end_state(record.error_threshold, survey.failed, errors),
            total=record.total,
            succeeded=survey.succeeded,
            failed=survey.failed,
            errors=errors,
            model=record.model,
            version=record.version,
            sha256=record.sha256,
            round=round_,
            created_at=record.created_at,
            ended_at=survey.updated_at(record),
            results=layout.results(record.batch_id),
        )

    @property
    def metadata(self) -> dict[str, str]:
        """What a listing or a look at the properties tells without reading the blob."""
        numbers = {"succeeded": self.succeeded, "failed": self.failed, "total": self.total, "round": self.round}
        texts = {"state": self.state.value, "ended_at": self.ended_at, "errors": orjson.dumps(self.errors).decode()}
        return {**{name: str(number) for name, number in numbers.items()}, **texts}


class Ended(Struct, frozen=True):
    """What the properties of `summary.json` say."""

    state: BatchState
    round: int
    total: int
    succeeded: int
    failed: int
    ended_at: str
    errors: dict[str, Any]

    @classmethod
    def of(cls, properties: BlobProperties) -> Self:
        """Read the metadata that `Summary.metadata` made."""
        metadata = properties.metadata
        return cls(
            state=BatchState(metadata["state"]),
            round=int(metadata["round"]),
            total=int(metadata["total"]),
            succeeded=int(metadata["succeeded"]),
            failed=int(metadata["failed"]),
            ended_at=metadata["ended_at"],
            errors=orjson.loads(metadata["errors"]),
        )
