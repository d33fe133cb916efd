"""The output spec: which outputs of a model a task reads, and what they mean.

It refuses to guess an output's role from its shape: its name tells it, or `model.toml` does.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from inference.models.declaration import (
    Activation,
    BoxFormat,
    BoxUnits,
    Declaration,
    DeclaredDetection,
    Decoder,
    Task,
    refusal,
)
from inference.models.signature import Signature, TensorInfo

DEFAULT_TOP_K = 5
DEFAULT_SCORE_THRESHOLD = 0.35
DEFAULT_IOU_THRESHOLD = 0.45
DEFAULT_MAX_DETECTIONS = 100

#: What a class that means "nothing here" is called in the label files of detectors.
_BACKGROUND_LABELS = frozenset({"background", "__background__"})

#: Role → words that name it, in the exports of TensorFlow, torchvision, the ONNX model zoo and UltraFace.
_ROLE_WORDS = {
    "boxes": ("box",),
    "scores": ("score", "conf"),
    "classes": ("class", "label"),
    "count": ("num", "count"),
}

#: The roles that a decoder needs, and those that it takes as well.
_ROLES: dict[Decoder, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "ssd": (("boxes", "scores", "classes"), ("count",)),
    "boxes-scores": (("boxes", "scores"), ()),
}

#: How boxes are written where neither the decoder nor `model.toml` says so: TensorFlow's SSD puts y first.
_BOXES: dict[Decoder, tuple[BoxFormat, BoxUnits]] = {
    "yolox": ("cxcywh", "pixels"),
    "yolov8": ("cxcywh", "pixels"),
    "ssd": ("yxyx", "normalized"),
    "boxes-scores": ("xyxy", "normalized"),
}


class OutputSpec(Struct, frozen=True):
    """What the outputs mean. `name` is the one that holds the scores; None for tasks that read several or none."""

    name: str | None
    activation: Activation
    labels: tuple[str, ...]
    top_k: int
    #: The output that holds the best label itself, as classifiers of scikit-learn have one.
    label_name: str | None = None

    def label(self, index: int) -> str:
        """Return the label of a class; without labels, its index."""
        return self.labels[index] if self.labels else str(index)


class DetectionSpec(Struct, frozen=True):
    """How boxes come out of the outputs."""

    decoder: Decoder
    score_threshold: float
    iou_threshold: float
    max_detections: int
    box: BoxFormat
    units: BoxUnits
    #: The class that is never predicted.
    background: int | None
    #: Role (predictions; boxes, scores, classes, count) → name of the output.
    outputs: Mapping[str, str]


def resolve_output(declared: Declaration, signature: Signature, task: Task, labels: tuple[str, ...]) -> OutputSpec:
    """Merge `[output]` and the model's outputs. Raises ModelUnavailable, naming the key, where they contradict."""
    names = [tensor.name for tensor in signature.outputs]
    name = declared.output.name
    if name is not None and name not in names:
        raise refusal("output.name", f"the model's outputs are {', '.join(names)}")
    if name is None:
        name = _text_scores(signature) if task == "text" else names[0] if len(names) == 1 else None
    if task == "classification" and name is None:
        raise refusal("output.name", f"it must be given, as the model has the outputs {', '.join(names)}")
    if task in ("classification", "text") and name is not None:
        _check_labels(labels, signature.outputs[names.index(name)])
    default: Activation = "softmax" if task == "classification" else "none"
    return OutputSpec(
        name,
        declared.output.activation or default,
        labels,
        declared.output.top_k or DEFAULT_TOP_K,
        _text_label(signature, name) if task == "text" else None,
    )


def _text_scores(signature: Signature) -> str | None:
    """Return the one output of numbers, or of ZipMap's label → number; None where a model gives no scores at all."""
    names = [tensor.name for tensor in signature.outputs if tensor.dtype.startswith(("float", "seq(map("))]
    if len(names) > 1:
        raise refusal("output.name", f"it must be given, as the model has the outputs {', '.join(names)}")
    return names[0] if names else None


def _text_label(signature: Signature, scores: str | None) -> str | None:
    names = [tensor.name for tensor in signature.outputs if tensor.dtype in ("string", "int64")]
    return names[0] if len(names) == 1 and names[0] != scores else None


def _check_labels(labels: tuple[str, ...], output: TensorInfo) -> None:
    # Classes may stand in any dimension (1 x 1000 x 1 x 1), but only one dimension may be other than 1.
    fixed = [size for size in output.shape[1:] if size != 1]
    classes = fixed[0] if len(fixed) == 1 else 1 if not fixed and len(output.shape) > 1 else None
    if labels and classes is not None and len(labels) != classes:
        raise refusal("output.labels", f"{len(labels)} labels for {classes} classes")


def resolve_detection(
    declared: Declaration, signature: Signature, task: Task, labels: tuple[str, ...]
) -> DetectionSpec | None:
    """Merge `[detection]` and the model's outputs; None for other tasks. Raises ModelUnavailable, naming the key."""
    detection = declared.detection
    if task != "detection":
        if detection is not None:
            raise refusal("detection", f"the table has no meaning with task = {task!r}")
        return None
    if detection is None or detection.decoder is None:
        raise refusal("detection.decoder", "a detection model must name the decoder of its outputs")
    box, units = _box(detection, detection.decoder)
    return DetectionSpec(
        decoder=detection.decoder,
        score_threshold=_or_default(detection.score_threshold, DEFAULT_SCORE_THRESHOLD),
        iou_threshold=_or_default(detection.iou_threshold, DEFAULT_IOU_THRESHOLD),
        max_detections=detection.max_detections or DEFAULT_MAX_DETECTIONS,
        box=box,
        units=units,
        background=_background(detection, labels),
        outputs=_detection_outputs(declared, detection, signature),
    )


def _or_default(value: float | None, default: float) -> float:
    return default if value is None else value


def _box(detection: DeclaredDetection, decoder: Decoder) -> tuple[BoxFormat, BoxUnits]:
    box, units = _BOXES[decoder]
    if decoder == "yolox" and (detection.box or detection.units):
        key = "detection.box" if detection.box else "detection.units"
        raise refusal(key, "a yolox model's boxes are written in one way only: leave out box and units")
    return detection.box or box, detection.units or units


def _background(detection: DeclaredDetection, labels: tuple[str, ...]) -> int | None:
    if detection.background is not None:
        return detection.background
    return next((index for index, label in enumerate(labels) if label.lower() in _BACKGROUND_LABELS), None)


def _detection_outputs(declared: Declaration, detection: DeclaredDetection, signature: Signature) -> Mapping[str, str]:
    names = [tensor.name for tensor in signature.outputs]
    given = {role: name for role in _ROLE_WORDS if (name := getattr(detection, role)) is not None}
    required, optional = _ROLES.get(detection.decoder or "yolox", ((), ()))
    for role, name in given.items():
        if role not in (*required, *optional):
            raise refusal(f"detection.{role}", f"it has no meaning with decoder = {detection.decoder!r}")
        if name not in names:
            raise refusal(f"detection.{role}", f"the model's outputs are {', '.join(names)}")
    if not required:
        name = declared.output.name or (names[0] if len(names) == 1 else None)
        if name is None:
            raise refusal("output.name", f"it must be given, as the model has the outputs {', '.join(names)}")
        return {"predictions": name}
    found = {role: given.get(role) or _find(role, names) for role in (*required, *optional)}
    for role in required:
        if found[role] is None:
            raise refusal(f"detection.{role}", f"it must name one of the model's outputs: {', '.join(names)}")
    return {role: name for role, name in found.items() if name is not None}


def _find(role: str, names: list[str]) -> str | None:
    """Return the one output whose name says that it has this role; TensorFlow adds raw ones to the final ones."""
    others = [word for other, words in _ROLE_WORDS.items() if other != role for word in words]
    matches = [name for name in names if any(word in name.lower() for word in _ROLE_WORDS[role])]
    final = [name for name in matches if not name.lower().startswith("raw_")]
    plain = [name for name in final if not any(word in name.lower() for word in others)]
    for choice in (plain, final):
        if len(choice) == 1:
            return choice[0]
    return None
