"""Postprocess: a run's outputs → the task's predictions.

It refuses to know the tasks' details: each is a module of `inference.models.tasks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from inference.errors import InferenceFailed, InvalidRequest
from inference.models.geometry import Frame
from inference.models.spec import ModelSpec, ServedTask
from inference.models.tasks.classification import Classification, classify, read_class_scores
from inference.models.tasks.detection import Detection, check_detection, detect
from inference.models.tasks.text import check_text, classify_text

type Prediction = Classification | Detection

_LABELLING = frozenset({"top_k", "min_score"})

#: What a caller may ask of each task's postprocessing.
PARAMETERS: Mapping[ServedTask, frozenset[str]] = {
    "classification": _LABELLING,
    "text": _LABELLING,
    "detection": _LABELLING | {"score_threshold", "iou_threshold", "max_detections"},
}


def postprocess(
    outputs: Mapping[str, NDArray[Any]], spec: ModelSpec, *, frame: Frame | None = None, **parameters: Any
) -> list[Prediction]:
    """Return the predictions for one item's outputs; `frame` is the image that they belong to, which boxes need.

    `parameters` are some of the task's PARAMETERS; one that is None is the model's own. Raises InferenceFailed when the
    outputs break the model's contract, InvalidRequest when the task has no predictions or no such parameter.
    """
    wanted = check_parameters(spec, parameters)
    match spec.task:
        case "classification":
            return [*classify(outputs, spec.output, **wanted)]
        case "text":
            return [*classify_text(outputs, spec.output, **wanted)]
        case "detection" if frame is not None:
            return [*detect(outputs, spec, frame, **wanted)]
        case _:
            raise InvalidRequest(f"A {spec.task} model does not score images.")


def check_parameters(spec: ModelSpec, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that are given. Raises InvalidRequest for one that means nothing to the model's task."""
    given = {name: value for name, value in parameters.items() if value is not None}
    for name in sorted(given.keys() - PARAMETERS.get(spec.task, frozenset())):
        raise InvalidRequest(f"{name} has no meaning for a {spec.task} model.")
    return given


def check_outputs(outputs: Mapping[str, NDArray[Any]], spec: ModelSpec) -> None:
    """Raise InferenceFailed when outputs do not have the shape that the task needs; their values are not looked at."""
    match spec.task:
        case "classification":
            scores = read_class_scores(outputs, spec.output)
            if scores.size == 1 and spec.output.activation == "softmax":
                raise InferenceFailed(
                    "The model's output is one number, of which the softmax is always 1: set output.activation to "
                    "sigmoid (of a logit) or none (of a probability)."
                )
        case "text":
            check_text(outputs, spec.output)
        case "detection":
            check_detection(outputs, spec)
        case _:
            pass
