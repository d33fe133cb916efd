"""Detection: what a detector proposes → labelled boxes in pixels of the image as a viewer shows it.

It refuses numbers that are not finite: an image on which a model breaks must not look like an empty one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from inference.errors import InferenceFailed, InvalidRequest
from inference.models.geometry import Frame, to_frame
from inference.models.output_spec import DetectionSpec
from inference.models.spec import ModelSpec
from inference.models.tasks.decoders import Array, Proposals, Reading, propose
from inference.models.tasks.suppression import suppress

#: Candidates that suppression looks at, the best ones: with 8400 proposals of 80 classes and a threshold near 0 there
#: are hundreds of thousands, of which no one wants more than a few hundred.
MAX_CANDIDATES = 10_000

#: A hundredth of a pixel is finer than any detector, and keeps rows of a batch short.
_DECIMALS = 2


class Detection(TypedDict):
    """One prediction; the box in pixels of the upright image, from its left and top edges."""

    label: str
    score: float
    xmin: float
    ymin: float
    xmax: float
    ymax: float


def detect(
    outputs: Mapping[str, Array],
    spec: ModelSpec,
    frame: Frame,
    *,
    top_k: int | None = None,
    min_score: float | None = None,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    max_detections: int | None = None,
) -> list[Detection]:
    """Return the objects on one image, best first; equal scores in the model's own order.

    `outputs` are those of one item, `frame` the image that they belong to. A threshold or number that is None is the
    model's own. Raises InferenceFailed, and InvalidRequest for a model that does not detect.
    """
    reading = _reading(spec)
    detection = reading.detection
    threshold = detection.score_threshold if score_threshold is None else score_threshold
    # A box never suppresses a better one, so that leaving out low scores before or after is the same.
    threshold = max(threshold, min_score or 0.0)
    scores, classes, boxes = _candidates(propose(outputs, reading), detection, threshold)
    framed = to_frame(boxes, frame, reading.image).round(_DECIMALS)
    # Of a box beside the image, in the padding of the canvas, nothing is left to be counted or to suppress others.
    seen = (framed[:, 2:] > framed[:, :2]).all(axis=1)
    scores, classes, boxes, framed = scores[seen], classes[seen], boxes[seen], framed[seen]
    limit = max_detections or detection.max_detections
    kept = suppress(
        boxes,
        scores,
        classes,
        iou_threshold=detection.iou_threshold if iou_threshold is None else iou_threshold,
        limit=limit if top_k is None else min(top_k, limit),
    )
    return _describe(spec, scores[kept], classes[kept], framed[kept])


def check_detection(outputs: Mapping[str, Array], spec: ModelSpec) -> None:
    """Raise InferenceFailed when outputs do not have the shape that the decoder needs; values are not looked at."""
    propose(outputs, _reading(spec))


def _reading(spec: ModelSpec) -> Reading:
    if spec.image is None or spec.detection is None:
        raise InvalidRequest(f"A {spec.task} model detects nothing.")
    return Reading(spec.image, spec.output, spec.detection)


def _candidates(
    proposals: Proposals, detection: DetectionSpec, threshold: float
) -> tuple[NDArray[np.floating], NDArray[np.int64], NDArray[np.float64]]:
    """Return scores, classes and boxes of at most MAX_CANDIDATES proposals that pass the threshold."""
    # One pass for each proposal's best class, which is nan if any is: hardly any proposal is then looked at again.
    best_scores = proposals.scores.max(axis=1)
    if not (best_scores < np.inf).all():
        raise InferenceFailed("The model's scores are not finite numbers.")
    promising = np.flatnonzero(best_scores >= threshold)
    rows, classes = np.nonzero(proposals.scores[promising] >= threshold)
    rows = promising[rows]
    scores = proposals.scores[rows, classes]
    if proposals.classes is not None:
        classes = _whole_numbers(proposals.classes[rows])
    if detection.background is not None:
        wanted = classes != detection.background
        rows, classes, scores = rows[wanted], classes[wanted], scores[wanted]
    if scores.size > MAX_CANDIDATES:
        best = np.sort(np.argsort(-scores, kind="stable")[:MAX_CANDIDATES])
        rows, classes, scores = rows[best], classes[best], scores[best]
    boxes = proposals.boxes(rows)
    if not np.isfinite(boxes).all():
        raise InferenceFailed("The model's boxes are not finite numbers.")
    has_area = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return scores[has_area], classes[has_area].astype(np.int64), boxes[has_area]


def _whole_numbers(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return class numbers, which TensorFlow gives as float32. Raises InferenceFailed for what is none."""
    if not ((values >= 0) & (values < 2**31) & (values == np.floor(values))).all():
        raise InferenceFailed("The model's classes are not numbers of classes.")
    return values.astype(np.int64)


def _describe(
    spec: ModelSpec, scores: NDArray[np.floating], classes: NDArray[np.int64], boxes: NDArray[np.float64]
) -> list[Detection]:
    labels = spec.output.labels
    if labels and classes.size and classes.max() >= len(labels):
        raise InferenceFailed(f"The model found class {classes.max()}; there are {len(labels)} labels.")
    return [
        Detection(label=spec.output.label(index), score=score, xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)
        for index, score, (xmin, ymin, xmax, ymax) in zip(
            classes.tolist(), scores.tolist(), boxes.tolist(), strict=True
        )
    ]
