"""The proposed model.toml: what a graph and runs of it tell, and the names of what only its author knows.

It refuses to settle what nothing shows: how pixels become numbers, and the form of boxes, stand there as defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from inference.errors import InferenceError, ModelUnavailable
from inference.models.declaration import BoxFormat, BoxUnits, Declaration, DeclaredDetection, Decoder, Task
from inference.models.inspection import describe_tensor
from inference.models.output_spec import resolve_detection
from inference.models.preprocess import preprocess
from inference.models.session import ModelSession
from inference.models.signature import Signature
from inference.models.spec import ImageSpec, resolve_spec
from inference.models.tasks.classification import read_class_scores
from inference.models.tasks.decoders import grid

_TASKS: tuple[Task, ...] = ("classification", "detection", "text", "tensor")
_DECODERS: tuple[Decoder, ...] = ("yolox", "yolov8", "ssd", "boxes-scores")
#: Those whose outputs are told by their names, what needs more of them first.
_BY_NAMES: tuple[Decoder, ...] = ("ssd", "boxes-scores")
_BOXES: tuple[BoxFormat, ...] = ("xyxy", "yxyx", "cxcywh")
_UNITS: tuple[BoxUnits, ...] = ("normalized", "pixels")

#: Of float16 each of a thousand scores is rounded.
_SUM_TOLERANCE = 0.01


def propose_declaration(signature: Signature, task: str | None, file: str, *, gives_probabilities: bool = False) -> str:
    """Return a model.toml that leaves to the model what the model tells, and names what nobody but its author knows.

    `task` None: as the graph tells it, if it does.
    """
    lines = [f"# Proposed by `onnxfn model add` from {file}. A line that begins with # shows a default or a choice."]
    lines += [f"# in:  {describe_tensor(tensor)}" for tensor in signature.inputs]
    lines += [f"# out: {describe_tensor(tensor)}" for tensor in signature.outputs]
    guessed = None if task else _guess_task(signature)
    choices = "" if task else f"  # {', '.join(name for name in _TASKS if name != (guessed or 'classification'))}"
    task = task or guessed
    lines += [f'task = "{task}"{choices}' if task else f'# task = "classification"{choices}']
    only = signature.inputs[0] if len(signature.inputs) == 1 else None
    if only is not None and len(only.shape) == 4 and task in (None, "classification", "detection"):
        is_gray = 1 in (only.shape[1], only.shape[3])
        values = [_VALUES, *(_GRAY if is_gray else _IMAGENET)] if only.dtype != "uint8" else []
        lines += ["", "[input]", *values, _RESIZE[task == "detection"], *([] if is_gray else [_COLOR])]
    if task != "tensor":
        lines += ["", "[output]", _PROBABILITIES if gives_probabilities else _ACTIVATION[task in ("detection", "text")]]
    if task not in ("tensor", "detection"):
        lines += ["# top_k = 5"]
    if task == "detection":
        lines += ["", "[detection]", *_detection_lines(signature)]
    return "\n".join(lines) + "\n"


def gives_probabilities(session: ModelSession) -> bool:
    """Tell whether a classifier's scores add up to 1 for whatever image: its graph ends in a softmax of its own."""
    spec = session.spec
    if spec.task != "classification" or spec.image is None or spec.input_name is None:
        return False
    try:
        for pixels in _pictures(spec.image):
            outputs = session.run_bounded({spec.input_name: preprocess(pixels, spec)})
            scores = read_class_scores(outputs, spec.output)
            if scores.size < 2 or not (scores.min() >= 0 and abs(scores.sum() - 1) <= _SUM_TOLERANCE):
                return False
    except InferenceError:
        return False  # the check says what is wrong
    return True


def _pictures(spec: ImageSpec) -> Iterator[NDArray[np.uint8]]:
    """Yield two images on which no classifier's logits add up to 1 by chance: black, and from black to white."""
    black = np.zeros((spec.height, spec.width, 3), np.uint8)
    yield black
    yield np.linspace(0, 255, black.size).astype(np.uint8).reshape(black.shape)


def _guess_task(signature: Signature) -> str | None:
    try:
        return resolve_spec(Declaration(), signature).task
    except ModelUnavailable:
        return None  # what the graph does not tell, the check will ask for


def _detection_lines(signature: Signature) -> list[str]:
    decoder = _guess_decoder(signature)
    choices = ", ".join(name for name in _DECODERS if name != (decoder or "yolox"))
    lines = [f'{"" if decoder else "# "}decoder = "{decoder or "yolox"}"  # {choices}', "# score_threshold = 0.35"]
    spec = resolve_detection(_detecting(decoder), signature, "detection", ()) if decoder else None
    if spec is not None and spec.decoder != "yolox":
        lines += [_choice("box", spec.box, _BOXES), _choice("units", spec.units, _UNITS)]
    return lines


def _choice(key: str, default: str, values: Sequence[str]) -> str:
    return f'# {key} = "{default}"  # {", ".join(value for value in values if value != default)}'


def _guess_decoder(signature: Signature) -> Decoder | None:
    """Return the decoder that the outputs look made for; None where names and shapes do not tell."""
    for decoder in _BY_NAMES:
        try:
            resolve_detection(_detecting(decoder), signature, "detection", ())
        except ModelUnavailable:
            continue
        return decoder
    shape = signature.outputs[0].shape
    if len(signature.outputs) != 1 or len(shape) != 3:
        return None
    if _has_yolox_grid(signature):
        return "yolox"
    values, proposals = shape[1:]
    # YOLOv8's proposals are columns; there are more of them than values of one, or any number.
    return "yolov8" if values is not None and values > 4 and (proposals is None or values < proposals) else None


def _has_yolox_grid(signature: Signature) -> bool:
    try:
        image = resolve_spec(_detecting("yolox"), signature).image
        count = signature.outputs[0].shape[1]
        return image is not None and count is not None and len(grid(image.width, image.height, count)) > 0
    except InferenceError:
        return False


def _detecting(decoder: Decoder) -> Declaration:
    return Declaration(task="detection", detection=DeclaredDetection(decoder=decoder))


#: What a graph does not tell of its training.
_VALUES = (
    "# value = (pixel * scale - mean) / std: as the model was trained, or its answers are nonsense\n"
    "# scale = 0.00392156862745098"
)
#: ImageNet's, as most classifiers want them; and -1 … 1, for the one channel of a model of grey pixels.
_IMAGENET = ("# mean = [0.485, 0.456, 0.406]", "# std = [0.229, 0.224, 0.225]")
_GRAY = ("# mean = [0.5]", "# std = [0.5]")
_COLOR = '# color = "RGB"  # BGR, L'

#: The default of a classification, and of a detection.
_RESIZE = (
    '# resize = "shorter-side"  # stretch, letterbox, letterbox-top-left',
    '# resize = "letterbox"  # letterbox-top-left, stretch, shorter-side',
)
#: The default of a classification, and of a detection or a text.
_ACTIVATION = (
    '# activation = "softmax"  # none, sigmoid (multi-label)',
    '# activation = "none"  # sigmoid, softmax: where the graph ends in logits',
)
_PROBABILITIES = 'activation = "none"  # what the graph gives adds up to 1 already'
