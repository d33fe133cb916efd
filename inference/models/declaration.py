"""`model.toml`: what the author of a model declares about it, as written; every key optional, an unknown one refused.

It refuses to know the model itself: `inference.models.spec` merges the two.
"""

from __future__ import annotations

import tomllib
from typing import Annotated, Literal

from msgspec import Meta

from inference.errors import ModelUnavailable
from inference.schema import Misfit, Number, Table, read_table

DECLARATION_NAME = "model.toml"

type Task = Literal["classification", "detection", "text", "tensor"]
type Resize = Literal["stretch", "shorter-side", "letterbox", "letterbox-top-left"]
type Interpolation = Literal["nearest", "bilinear", "bicubic"]
type Layout = Literal["NCHW", "NHWC"]
type Color = Literal["RGB", "BGR", "L"]
type Activation = Literal["none", "softmax", "sigmoid"]
type Decoder = Literal["yolox", "yolov8", "ssd", "boxes-scores"]
#: Two corners, x or y first; or the centre, width and height.
type BoxFormat = Literal["xyxy", "yxyx", "cxcywh"]
#: Shares of the model's input, 0 … 1, or its pixels.
type BoxUnits = Literal["normalized", "pixels"]


#: No network takes larger images, and a slip of the finger must not allocate gigabytes.
Pixels = Annotated[int, Meta(ge=1, le=16_384)]
Count = Annotated[int, Meta(ge=1, le=100_000)]
Threads = Annotated[int, Meta(ge=1, le=1024)]
Share = Annotated[float, Meta(ge=0, le=1)]
PerChannel = Annotated[tuple[Number, ...], Meta(min_length=1, max_length=3)]
Text = Annotated[str, Meta(min_length=1, max_length=512)]


class DeclaredInput(Table, frozen=True):
    """`[input]`: how an image becomes the model's tensor: value = (pixel * scale - mean) / std, a channel each."""

    name: Text | None = None
    #: Width, height.
    size: tuple[Pixels, Pixels] | None = None
    resize: Resize | None = None
    resize_to: Pixels | None = None
    interpolation: Interpolation | None = None
    layout: Layout | None = None
    color: Color | None = None
    scale: Number | None = None
    mean: PerChannel | None = None
    std: PerChannel | None = None
    pad: Annotated[int, Meta(ge=0, le=255)] | None = None

    def __post_init__(self) -> None:
        if self.std is not None and 0 in self.std:
            raise ValueError("std: cannot be 0, as pixels are divided by it")


class DeclaredOutput(Table, frozen=True):
    """`[output]`: what the model's output means."""

    name: Text | None = None
    activation: Activation | None = None
    labels: Text | None = None
    top_k: Count | None = None


class DeclaredDetection(Table, frozen=True):
    """`[detection]`: how boxes come out of the output."""

    decoder: Decoder | None = None
    score_threshold: Share | None = None
    iou_threshold: Share | None = None
    max_detections: Count | None = None
    #: How boxes are written, where the decoder leaves it open.
    box: BoxFormat | None = None
    units: BoxUnits | None = None
    #: The class that means: nothing here.
    background: Annotated[int, Meta(ge=0, le=100_000)] | None = None
    #: Names of outputs, where their own names do not tell what they hold.
    boxes: Text | None = None
    scores: Text | None = None
    classes: Text | None = None
    count: Text | None = None


class DeclaredExecution(Table, frozen=True):
    """`[execution]`: overrides of the plan that is chosen at warm-up."""

    threads: Threads | None = None
    parallel: Threads | None = None
    max_batch: Threads | None = None


class Declaration(Table, frozen=True):
    """The whole of `model.toml`."""

    task: Task | None = None
    input: DeclaredInput = DeclaredInput()
    output: DeclaredOutput = DeclaredOutput()
    detection: DeclaredDetection | None = None
    execution: DeclaredExecution = DeclaredExecution()


def parse_declaration(data: bytes) -> Declaration:
    """Return the declaration in `data`. Raises ModelUnavailable, naming every key that is wrong."""
    try:
        return read_table(Declaration, tomllib.loads(data.decode("utf-8-sig")))
    except Misfit as exc:
        raise ModelUnavailable(f"{DECLARATION_NAME}: {exc}.") from exc
    except ValueError as exc:
        raise ModelUnavailable(f"{DECLARATION_NAME} is not TOML: {exc}.") from exc


def refusal(key: str, reason: str) -> ModelUnavailable:
    """Return the error that names the key of `model.toml` that contradicts the model."""
    return ModelUnavailable(f"{DECLARATION_NAME}: {key}: {reason}.")
