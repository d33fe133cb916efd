"""Classification: one score a class → the labels that score best.

It refuses outputs that are not one finite score a class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from inference.errors import InferenceFailed
from inference.models.declaration import Activation
from inference.models.output_spec import OutputSpec


class Classification(TypedDict):
    """One prediction."""

    label: str
    score: float


def classify(
    outputs: Mapping[str, NDArray[Any]],
    spec: OutputSpec,
    *,
    top_k: int | None = None,
    min_score: float | None = None,
) -> list[Classification]:
    """Return at most `top_k` (default: the model's) labels with a score of `min_score` or more, best first.

    `outputs` are those of one item. Equal scores keep the order of the classes. Raises InferenceFailed.
    """
    scores = activate(read_class_scores(outputs, spec), spec.activation)
    if not np.isfinite(scores).all():
        raise InferenceFailed("The model's scores are not finite numbers.")
    best = np.argsort(-scores, kind="stable")[: spec.top_k if top_k is None else top_k]
    return [
        Classification(label=spec.label(index), score=float(scores[index]))
        for index in best.tolist()
        if min_score is None or scores[index] >= min_score
    ]


def read_class_scores(outputs: Mapping[str, NDArray[Any]], spec: OutputSpec) -> NDArray[np.float64]:
    """Return one number a class, before the activation. Raises InferenceFailed when the output has another shape."""
    output = outputs.get(spec.name or "")
    # A sequence of tensors, or ZipMap's maps, come as a list.
    if not isinstance(output, np.ndarray) or output.dtype.kind not in "fiu":
        raise InferenceFailed("The model's output is not a tensor of numbers.")
    # One item's scores: one dimension may be other than 1, wherever it stands (1 x 1000 x 1 x 1).
    if not output.size or max(output.shape, default=1) != output.size:
        raise InferenceFailed(f"The model's output has the shape {list(output.shape)}, not one score a class.")
    if spec.labels and output.size != len(spec.labels):
        raise InferenceFailed(f"The model's output has {output.size} scores for {len(spec.labels)} labels.")
    return output.reshape(-1).astype(np.float64)


def activate[F: np.floating](values: NDArray[F], activation: Activation) -> NDArray[F]:
    """Return what the last dimension, one value a class, says after the activation; not finite where it overflows."""
    # Whatever overflows here is not finite, which the caller refuses, or rounds to 0 as it should.
    with np.errstate(all="ignore"):
        match activation:
            case "none":
                return values
            case "softmax":
                exponentials = np.exp(values - values.max(axis=-1, keepdims=True))
                return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))
            case "sigmoid":
                return np.asarray(1 / (1 + np.exp(-values)))
