"""Postprocess: a run's outputs → the task's predictions.

It refuses to know the tasks' details: each is a module of `inference.models.tasks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from inference.errors import InvalidRequest
from inference.models.spec import ModelSpec
from inference.models.tasks.classification import Classification, classify, read_class_scores

#: Detection's prediction joins here.
Prediction = Classification


def postprocess(
    outputs: Mapping[str, NDArray[Any]],
    spec: ModelSpec,
    *,
    top_k: int | None = None,
    min_score: float | None = None,
) -> list[Prediction]:
    """Return the predictions for one item's outputs.

    Raises InferenceFailed when the outputs break the model's contract, InvalidRequest when the task has no predictions.
    """
    match spec.task:
        case "classification":
            return classify(outputs, spec.output, top_k=top_k, min_score=min_score)
        case _:
            raise InvalidRequest(f"A {spec.task} model does not score images.")


def check_outputs(outputs: Mapping[str, NDArray[Any]], spec: ModelSpec) -> None:
    """Raise InferenceFailed when outputs do not have the shape that the task needs; their values are not looked at."""
    if spec.task == "classification":
        read_class_scores(outputs, spec.output)
