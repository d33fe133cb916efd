"""Decoders: a detector's outputs → scores of proposals, and their boxes on the canvas, for each layout of the field.

They refuse outputs of another shape, and do not look at values: `inference.models.tasks.detection` selects and checks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from inference.errors import InferenceFailed
from inference.models.declaration import Decoder
from inference.models.output_spec import DetectionSpec, OutputSpec
from inference.models.spec import ImageSpec
from inference.models.tasks.classification import activate

type Array = NDArray[Any]
type Rows = NDArray[np.intp]

#: The strides of YOLOX's grids: of most models, and of those trained with a fourth level.
_STRIDES = ((8, 16, 32), (8, 16, 32, 64))


class Proposals(Struct, frozen=True):
    """What a detector proposes, before any threshold."""

    #: n x classes; n x 1 where `classes` tells the class of each.
    scores: NDArray[np.floating]
    #: Boxes of some of the proposals, by row: m x 4 (left, top, right, bottom), float64, in pixels of the canvas.
    boxes: Callable[[Rows], NDArray[np.float64]]
    #: n, or None where each proposal has a score for every class.
    classes: Array | None = None


class Reading(Struct, frozen=True):
    """What a decoder is told about the model."""

    image: ImageSpec
    output: OutputSpec
    detection: DetectionSpec

    def class_scores(self, values: Array) -> NDArray[np.floating]:
        """Return scores of rows x classes after the activation. Raises InferenceFailed."""
        labels = self.output.labels
        if labels and values.shape[1] != len(labels):
            raise InferenceFailed(f"The model's output has {values.shape[1]} scores a box for {len(labels)} labels.")
        numbers = values if values.dtype.kind == "f" else values.astype(np.float32)
        return activate(numbers, self.output.activation)

    def corners(self, boxes: Array) -> NDArray[np.float64]:
        """Return boxes, written as the model does, as left, top, right, bottom in pixels of the canvas."""
        a, b, c, d = boxes.astype(np.float64).T
        # What overflows here is not finite, which the caller refuses.
        with np.errstate(over="ignore", invalid="ignore"):
            match self.detection.box:
                case "xyxy":
                    sides = (a, b, c, d)
                case "yxyx":
                    sides = (b, a, d, c)
                case "cxcywh":
                    sides = (a - c / 2, b - d / 2, a + c / 2, b + d / 2)
            corners = np.stack(sides, axis=1)
            if self.detection.units == "normalized":
                corners *= (self.image.width, self.image.height) * 2
        return corners


def propose(outputs: Mapping[str, Array], reading: Reading) -> Proposals:
    """Return the proposals in one item's outputs. Raises InferenceFailed when an output has another shape."""
    tensors: dict[str, Array] = {}
    for role, name in reading.detection.outputs.items():
        tensor = outputs.get(name)
        if not isinstance(tensor, np.ndarray) or tensor.dtype.kind not in "fiu":
            raise InferenceFailed(f"The model's output {name} is not a tensor of numbers.")
        tensors[role] = tensor
    return _DECODERS[reading.detection.decoder](tensors, reading)


def _yolox(tensors: Mapping[str, Array], reading: Reading) -> Proposals:
    """Rows of x, y, width, height on a grid cell's scale, objectness and a score a class; not decoded in the graph."""
    rows = _item(tensors["predictions"], 2)
    if rows.shape[1] < 6:
        raise _shape_error(tensors["predictions"], "rows of a box, an objectness and a score a class")
    cells = grid(reading.image.width, reading.image.height, len(rows))

    def boxes(wanted: Rows) -> NDArray[np.float64]:
        own, values = cells[wanted], rows[wanted, :4].astype(np.float64)
        # An exponent that overflows gives an infinite side, which the caller refuses.
        with np.errstate(over="ignore", invalid="ignore"):
            centres = (values[:, :2] + own[:, :2]) * own[:, 2:]
            return reading.corners(np.hstack((centres, np.exp(values[:, 2:]) * own[:, 2:])))

    # An infinite objectness beside a score of 0 gives what is no number, which the caller refuses.
    with np.errstate(over="ignore", invalid="ignore"):
        return Proposals(rows[:, 4:5] * reading.class_scores(rows[:, 5:]), boxes)


@lru_cache(maxsize=16)
def grid(width: int, height: int, count: int) -> NDArray[np.float64]:
    """Return column, row and stride of every cell, stride by stride and row by row, as YOLOX lines them up.

    Raises InferenceFailed where no grid of the image has so many.
    """
    for strides in _STRIDES:
        if count == sum((width // stride) * (height // stride) for stride in strides):
            return np.concatenate([_cells(width // stride, height // stride, stride) for stride in strides])
    raise InferenceFailed(f"The model's output has {count} rows, which no YOLOX grid of {width} x {height} has.")


def _cells(columns: int, rows: int, stride: int) -> NDArray[np.float64]:
    y, x = np.indices((rows, columns)).reshape(2, -1)
    return np.stack((x, y, np.full(x.size, stride)), axis=1).astype(np.float64)


def _yolov8(tensors: Mapping[str, Array], reading: Reading) -> Proposals:
    """A box and a score a class for each proposal, without objectness; proposals are columns or, transposed, rows."""
    values = _item(tensors["predictions"], 2)
    width = 4 + len(reading.output.labels)
    # There are more proposals than values of one; where the labels are known, they tell it for certain.
    is_told = width > 4 and width in values.shape
    are_columns = values.shape[0] == width if is_told else values.shape[0] <= values.shape[1]
    rows = values.T if are_columns else values
    if rows.shape[1] < 5:
        raise _shape_error(tensors["predictions"], "a box and a score a class for each proposal")
    return Proposals(reading.class_scores(rows[:, 4:]), lambda wanted: reading.corners(rows[wanted, :4]))


def _ssd(tensors: Mapping[str, Array], reading: Reading) -> Proposals:
    """Boxes with one class and one score each, the best ones already chosen in the graph; a count says how many."""
    boxes, scores, classes = _item(tensors["boxes"], 2), _item(tensors["scores"], 1), _item(tensors["classes"], 1)
    if boxes.shape[1] != 4 or not len(boxes) == len(scores) == len(classes):
        raise _shape_error(tensors["boxes"], "one box for each score and class")
    count = _count(tensors["count"], len(boxes)) if "count" in tensors else len(boxes)
    numbers = scores[:count, np.newaxis]
    numbers = numbers if numbers.dtype.kind == "f" else numbers.astype(np.float32)
    # A softmax over a single score would always be 1.
    numbers = activate(numbers, "sigmoid") if reading.output.activation == "sigmoid" else numbers
    return Proposals(numbers, lambda wanted: reading.corners(boxes[wanted]), classes[:count])


def _count(tensor: Array, limit: int) -> int:
    if tensor.size != 1:
        raise _shape_error(tensor, "one count")
    count = tensor.reshape(-1)[0]
    if not 0 <= count <= limit:
        raise InferenceFailed(f"The model counts {count} boxes and gives {limit}.")
    return int(count)


def _boxes_scores(tensors: Mapping[str, Array], reading: Reading) -> Proposals:
    """Boxes, and for each a score a class."""
    boxes, scores = _item(tensors["boxes"], 2), tensors["scores"]
    # The scores of a single class may lack their dimension: n, or 1 x n.
    is_flat = scores.shape in ((len(boxes),), (1, len(boxes)))
    rows = scores.reshape(-1, 1) if is_flat else _item(scores, 2)
    if boxes.shape[1] != 4 or len(boxes) != len(rows):
        raise _shape_error(tensors["boxes"], "one box for each row of scores")
    return Proposals(reading.class_scores(rows), lambda wanted: reading.corners(boxes[wanted]))


def _item(tensor: Array, rank: int) -> Array:
    """Return one item's values, with or without a dimension for the batch of one."""
    if tensor.ndim == rank + 1 and tensor.shape[0] == 1:
        return np.asarray(tensor[0])
    if tensor.ndim == rank:
        return tensor
    raise _shape_error(tensor, f"{rank} dimensions for one item")


def _shape_error(tensor: Array, wanted: str) -> InferenceFailed:
    return InferenceFailed(f"The model's output has the shape {list(tensor.shape)}, not {wanted}.")


_DECODERS: Mapping[Decoder, Callable[[Mapping[str, Array], Reading], Proposals]] = {
    "yolox": _yolox,
    "yolov8": _yolov8,
    "ssd": _ssd,
    "boxes-scores": _boxes_scores,
}
