"""What `onnxfn model check` and `add` print of an inspection; it refuses to inspect anything itself."""

from __future__ import annotations

from typing import Any

from inference.cli.failure import Failure
from inference.cli.output import format_prediction, print_json
from inference.models.inspection import Inspection, ScoredFile


def report(
    reference: str, inspection: Inspection, scored: ScoredFile | None = None, *, as_json: bool, **more: Any
) -> None:
    """Print every step, and predictions where a file was scored. Raises Failure when a step failed.

    `more` is only in the JSON document.
    """
    if as_json:
        print_json(_document(reference, inspection, scored, more))
    else:
        print(reference)
        for finding in inspection.findings:
            print(f"  {finding.step:<12} {'failed: ' + finding.problem if finding.problem else finding.detail}")
        for prediction in scored.predictions if scored is not None else []:
            print(f"  {format_prediction(dict(prediction))}")
    if inspection.problem is not None:
        raise Failure(f"{reference} cannot serve: {inspection.problem}")


def _document(
    reference: str, inspection: Inspection, scored: ScoredFile | None, more: dict[str, Any]
) -> dict[str, Any]:
    name, _, version = reference.partition(":")
    steps = [
        {"step": finding.step, "ok": finding.problem is None, "detail": finding.problem or finding.detail}
        for finding in inspection.findings
    ]
    document: dict[str, Any] = {"model": name, "version": version, "ok": inspection.problem is None, "steps": steps}
    if scored is not None:
        document["predictions"] = [dict(prediction) for prediction in scored.predictions]
    return {**document, **more}
