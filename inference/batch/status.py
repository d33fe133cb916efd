"""Owns what the outside may know of a batch: its status, computed at each call from what stands in storage.

It refuses to remember: a status is true of the moment it was asked for.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from inference.batch import layout
from inference.batch.burials import Burials
from inference.batch.concurrency import for_each
from inference.batch.journals import Journals
from inference.batch.parts import PartStore
from inference.batch.ports import Clock, Stores
from inference.batch.record import BatchRecord, Records, Ticket
from inference.batch.survey import BatchState, Ended, Survey
from inference.errors import BatchNotFound


class BatchStatus(Struct, frozen=True):
    """How far a batch is."""

    batch_id: str
    state: BatchState
    #: 0 until the manifest was read.
    total: int
    succeeded: int
    failed: int
    pending: int
    errors: Mapping[str, int]
    created_at: str
    updated_at: str
    #: Latest round of replay.
    round: int = 0
    model: str | None = None
    version: str | None = None
    eta_seconds: int | None = None
    #: Why the manifest could not become a batch.
    error: Mapping[str, str] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the contract's form; what cannot be told is left out."""
        value = {**asdict(self), "errors": dict(self.errors)}
        value = {name: part for name, part in value.items() if part is not None}
        return {**value, "links": links(self.batch_id)}


def links(batch_id: str) -> dict[str, str]:
    """Return where more of a batch can be asked: paths on this host."""
    return {
        "status": f"/api/batches/{batch_id}",
        "results": f"/api/batches/{batch_id}/results",
        "deadletters": f"/api/deadletters?batch_id={batch_id}",
    }


class Statuses(Struct, frozen=True):
    """Computes statuses."""

    stores: Stores
    records: Records
    parts: PartStore
    journals: Journals
    burials: Burials
    clock: Clock

    async def read(self, batch_id: str) -> BatchStatus:
        """Return the status of a batch. Raises BatchNotFound."""
        if not layout.is_batch_id(batch_id):
            raise BatchNotFound
        record = await self.records.find(batch_id)
        return await (self._of_record(record) if record else self._before_record(batch_id))

    async def list(self, limit: int) -> list[BatchStatus]:
        """Return the statuses of the newest batches, the newest first; also of those whose manifest was refused."""
        created: dict[str, str] = {}
        async for properties in self.burials.list_manifests():
            batch_id = layout.batch_id_of(properties.name)
            if layout.is_batch_id(batch_id):
                created[batch_id] = properties.last_modified.isoformat()
        for listing in (self.records.list_tickets(), self.records.list()):
            async for properties in listing:
                created[layout.batch_id_of(properties.name)] = properties.metadata.get("created_at", "")
        newest = heapq.nlargest(limit, created, key=lambda batch_id: (created[batch_id], batch_id))
        found: dict[str, BatchStatus] = {}

        async def read(batch_id: str) -> None:
            with suppress(BatchNotFound):  # purged meanwhile, or a refused manifest that is being tried again
                found[batch_id] = await self.read(batch_id)

        await for_each(newest, read, limit=8)
        return [found[batch_id] for batch_id in newest if batch_id in found]

    async def _before_record(self, batch_id: str) -> BatchStatus:
        """Tell of a batch that was accepted, or refused, and never expanded."""
        ticket = await self.records.find_ticket(batch_id)
        async for properties in self.burials.list_manifests(batch_id):
            found = await self.burials.read(properties.name)
            if found is None:
                continue
            buried = found[0]
            if buried.is_replaying and ticket is None:
                ticket = Ticket(batch_id=batch_id, digest=None, total=0, created_at=buried.first_at)
            # What was submitted since is another manifest, perhaps a repaired one.
            elif not buried.is_replaying and (ticket is None or ticket.created_at <= buried.last_at):
                error = {"code": buried.code, "message": buried.message}
                counts = _counts(ticket, BatchState.FAILED)
                return BatchStatus(
                    batch_id, **counts, created_at=buried.first_at, updated_at=buried.last_at, error=error
                )
        if ticket is None:
            raise BatchNotFound
        created = ticket.created_at
        return BatchStatus(batch_id, **_counts(ticket, BatchState.QUEUED), created_at=created, updated_at=created)

    async def _of_record(self, record: BatchRecord) -> BatchStatus:
        summary_name = layout.summary(record.batch_id)
        found, rounds = await asyncio.gather(
            self.stores.results.properties(summary_name), self.journals.rounds(record.batch_id)
        )
        if found and (ended := Ended.of(found)).round >= rounds.latest:
            return _ended(record, ended)
        survey = await Survey.of(record, self.parts)
        is_started = bool(survey.parts) or rounds.latest > 0
        return BatchStatus(
            batch_id=record.batch_id,
            state=BatchState.RUNNING if is_started else BatchState.QUEUED,
            total=record.total,
            succeeded=survey.succeeded,
            failed=survey.failed,
            pending=survey.pending,
            errors=dict(sorted(survey.errors.items())),
            created_at=record.created_at,
            updated_at=survey.updated_at(record),
            round=rounds.latest,
            model=record.model,
            version=record.version,
            eta_seconds=None if rounds.latest else _eta_seconds(survey, self.clock()),
        )


def _counts(ticket: Ticket | None, state: BatchState) -> dict[str, Any]:
    total = ticket.total if ticket else 0
    pending = total if state is BatchState.QUEUED else 0
    return {"state": state, "total": total, "succeeded": 0, "failed": 0, "pending": pending, "errors": {}}


def _ended(record: BatchRecord, ended: Ended) -> BatchStatus:
    return BatchStatus(
        batch_id=record.batch_id,
        state=ended.state,
        total=ended.total,
        succeeded=ended.succeeded,
        failed=ended.failed,
        pending=0,
        errors=ended.errors,
        created_at=record.created_at,
        updated_at=ended.ended_at,
        round=ended.round,
        model=record.model,
        version=record.version,
    )


def _eta_seconds(survey: Survey, now: datetime) -> int | None:
    """Return how long the rest takes at the pace since the first part; None before there is a pace."""
    if survey.first_modified is None or len(survey.parts) < 2 or not survey.done:
        return None
    elapsed = (now - survey.first_modified).total_seconds()
    if elapsed <= 0:
        return None
    return round(survey.pending * elapsed / survey.done)
