"""The invariants of the batch path, checked against what stands in storage once every queue is empty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson

from inference.batch import layout
from inference.redaction import redact_url
from tests.flows.simulation import Simulation

_LETTER_KEYS = {
    "kind",
    "batch_id",
    "index",
    "id",
    "url",
    "code",
    "message",
    "retryable",
    "attempts",
    "first_at",
    "last_at",
    "model",
    "version",
    "sha256",
    "trace_id",
    "round",
    "history",
}
_ROW_KEYS = {
    "succeeded": ["index", "id", "url", "status", "model", "version", "predictions", "attempts"],
    "failed": ["index", "id", "url", "status", "error", "attempts"],
}


def check_invariants(sim: Simulation, batch_id: str, urls: Sequence[str], *, rescues: int = 0) -> list[dict[str, Any]]:
    """Assert what must hold of a drained batch, and return its rows."""
    rows = sim.rows(batch_id)
    # I1, I2, I3: each item exactly once, in the manifest's order, the same url twice as two rows.
    assert [row["index"] for row in rows] == list(range(len(urls)))
    assert [row["url"] for row in rows] == [redact_url(url) for url in urls]
    for row in rows:
        assert list(row) == _ROW_KEYS[row["status"]]

    # I5: what is counted is what a recount of the rows gives.
    summary = sim.summary(batch_id)
    by_status = Counter(row["status"] for row in rows)
    assert (summary["total"], summary["succeeded"], summary["failed"]) == (
        len(urls),
        by_status["succeeded"],
        by_status["failed"],
    )
    assert summary["errors"] == Counter(row["error"]["code"] for row in rows if row["status"] == "failed")

    # I8: each failed row has exactly one dead letter, which says everything; nothing else has one.
    letters = sim.letters(f"{batch_id}/")
    assert [letter["index"] for letter in letters] == [row["index"] for row in rows if row["status"] == "failed"]
    for letter in letters:
        assert letter.keys() == _LETTER_KEYS
        assert letter["code"] == rows[letter["index"]]["error"]["code"]
        assert letter["first_at"] <= letter["last_at"]
        assert len(letter["trace_id"]) == 32
        assert len(letter["sha256"]) == 64

    # I6: the event came, with the final summary; perhaps not as the last one, when an earlier round's was held up.
    events = [event for event in sim.events() if event["batch_id"] == batch_id]
    assert summary in [{key: event[key] for key in summary} for event in events]

    # What only the net below everything else saved is a defect.
    assert sim.rescues == rescues

    # Parts hold final rows only, and no marker of suspicion is left.
    for name, data in sim.storage.blobs("results").contents.items():
        if name.startswith(layout.parts(batch_id)):
            assert all(orjson.loads(line)["status"] != "pending" for line in data.splitlines())
    assert not [name for name in sim.storage.blobs("manifests").contents if f"{batch_id}/suspects/" in name]
    return rows


def without_volatile(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows without what may differ from run to run (I4)."""
    return [{key: value for key, value in row.items() if key != "attempts"} for row in rows]
