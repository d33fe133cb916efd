"""Text: one text → the model's string tensor; its outputs → the labels that score best.

It refuses to tokenise: the graph takes the text as it is, as text pipelines of scikit-learn do when exported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.errors import InferenceFailed, InvalidRequest, InvalidText
from inference.models.output_spec import OutputSpec
from inference.models.spec import ModelSpec
from inference.models.tasks.classification import Classification, classify, read_class_scores

#: A thousand pages: a longer one is not a text that somebody wants labelled, and would keep a core for seconds.
MAX_TEXT_BYTES = 1 << 20


def decode_text(data: bytes) -> str:
    """Return the text in UTF-8 bytes, without a byte order mark. Raises InvalidText."""
    if len(data) > MAX_TEXT_BYTES:
        raise InvalidText(f"The text has more than {MAX_TEXT_BYTES} bytes.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidText("The text is not UTF-8.") from None


def encode_text(text: str, spec: ModelSpec) -> NDArray[np.object_]:
    """Return the string tensor of one text, of `spec.text_shape`. Raises InvalidRequest for a model that takes none."""
    if spec.text_shape is None:
        raise InvalidRequest(f"A {spec.task} model takes no text.")
    return np.full(spec.text_shape, text, object)


def classify_text(
    outputs: Mapping[str, Any], spec: OutputSpec, *, top_k: int | None = None, min_score: float | None = None
) -> list[Classification]:
    """Return at most `top_k` (default: the model's) labels with a score of `min_score` or more, best first.

    Labels come from `labels.txt`, from ZipMap's map of label → score, or from the model's own output of the best
    label, which is then the only one. Raises InferenceFailed, and InvalidRequest for a model without scores.
    """
    scores = outputs.get(_scores_name(spec))
    if isinstance(scores, list):
        keys, numbers = _unzip(scores)
        # The keys are sorted, as pipeline.classes_ is, whose order labels.txt has; where it lists the very keys, in
        # whatever order, they know better.
        labels = keys if set(keys) == set(spec.labels) else spec.labels or keys
        named = OutputSpec("scores", spec.activation, labels, spec.top_k)
        return classify({"scores": numbers}, named, top_k=top_k, min_score=min_score)
    if spec.labels or spec.label_name is None:
        return classify(outputs, spec, top_k=top_k, min_score=min_score)
    best = classify(outputs, spec, top_k=1, min_score=min_score)
    label = outputs.get(spec.label_name)
    if not isinstance(label, np.ndarray) or label.size != 1:
        raise InferenceFailed("The model's output does not have one label for one text.")
    return [Classification(label=str(label.reshape(-1)[0]), score=item["score"]) for item in best]


def check_text(outputs: Mapping[str, Any], spec: OutputSpec) -> None:
    """Raise InferenceFailed when outputs do not have the shape that labels need; their values are not looked at."""
    if spec.name is None:
        return
    scores = outputs.get(spec.name)
    if isinstance(scores, list):
        named = OutputSpec("scores", spec.activation, spec.labels, spec.top_k)
        read_class_scores({"scores": _unzip(scores)[1]}, named)
    else:
        read_class_scores(outputs, spec)


def _scores_name(spec: OutputSpec) -> str:
    if spec.name is None:
        raise InvalidRequest("The model gives no scores for labels; score it through the Open Inference Protocol.")
    return spec.name


def _unzip(maps: list[Any]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return labels and scores of ZipMap's output, which is a list of one map for one text."""
    if len(maps) != 1 or not isinstance(maps[0], dict) or not maps[0]:
        raise InferenceFailed("The model's output is not one map of labels to scores.")
    return tuple(map(str, maps[0])), np.array([*maps[0].values()], np.float64)
