"""Where an image lands on a model's canvas, for every way to resize; and the way back from canvas to image.

It refuses to touch pixels: numbers in, numbers out.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from inference.models.spec import ImageSpec


class Frame(Struct, frozen=True):
    """The whole upright image, and how many times smaller the pixels are that the model was given of it."""

    width: int
    height: int
    #: A pixel (x, y) of what was decoded lies at origin + (x, y) * reduced_by in the image.
    reduced_by: int = 1
    origin: tuple[int, int] = (0, 0)


class Placement(Struct, frozen=True):
    """Where the whole image is drawn on the canvas, in pixels of the canvas; it may reach beyond."""

    #: Width, height of the image.
    image: tuple[int, int]
    #: Width, height that it is resized to.
    size: tuple[int, int]
    #: Left, top of it on the canvas, negative where the canvas cuts it off.
    offset: tuple[int, int]
    #: Pixels of the canvas for one of the image, where the sides were rounded after; None: as `size` says.
    scale: float | None = None

    def shown(self, spec: ImageSpec) -> tuple[int, int, int, int]:
        """Return the part (left, top, right, bottom) of the resized image that is on the canvas."""
        (x, y), (width, height) = self.offset, self.size
        return max(0, -x), max(0, -y), min(width, spec.width - x), min(height, spec.height - y)

    def to_image[N: (float, NDArray[np.float64])](self, x: N, y: N) -> tuple[N, N]:
        """Return the point of the image that is drawn at a point of the canvas; many of them as two arrays."""
        x_scale = self.scale or self.size[0] / self.image[0]
        y_scale = self.scale or self.size[1] / self.image[1]
        return (x - self.offset[0]) / x_scale, (y - self.offset[1]) / y_scale


def to_frame(boxes: NDArray[np.float64], frame: Frame, spec: ImageSpec) -> NDArray[np.float64]:
    """Return boxes on the canvas (n x 4: left, top, right, bottom) as boxes on the image, cut off at its edges."""
    placement = place(-(-frame.width // frame.reduced_by), -(-frame.height // frame.reduced_by), spec)
    x, y = placement.to_image(boxes[:, 0::2], boxes[:, 1::2])
    x, y = x * frame.reduced_by + frame.origin[0], y * frame.reduced_by + frame.origin[1]
    mapped = np.stack((x.clip(0, frame.width), y.clip(0, frame.height)), axis=2)
    return mapped.reshape(-1, 4)


def reduction_target(spec: ImageSpec) -> tuple[int, int]:
    """Return the (width, height) that a picture may be decoded down to and lose nothing that is shown."""
    if spec.resize == "shorter-side":
        side = spec.resize_to or max(spec.width, spec.height)
        return side, side
    return spec.width, spec.height


def place(width: int, height: int, spec: ImageSpec) -> Placement:
    """Return the placement of a `width` x `height` image."""
    match spec.resize:
        case "stretch":
            return Placement((width, height), (spec.width, spec.height), (0, 0))
        case "shorter-side":
            return _crop_centre(width, height, spec)
        case "letterbox" | "letterbox-top-left":
            return _letterbox(width, height, spec, is_centred=spec.resize == "letterbox")


def _crop_centre(width: int, height: int, spec: ImageSpec) -> Placement:
    """The whole image, resized so that its shorter side has its length, and the canvas showing its middle.

    The longer side is rounded, which keeps the image's proportions best (torchvision cuts it off), and a spare row or
    column is cut off at the bottom or right.
    """
    size = _covering_size(width, height, spec)
    offset = (-((size[0] - spec.width) // 2), -((size[1] - spec.height) // 2))
    return Placement((width, height), size, offset)


def _covering_size(width: int, height: int, spec: ImageSpec) -> tuple[int, int]:
    if spec.resize_to is not None:
        scale = spec.resize_to / min(width, height)
        return max(spec.resize_to, round(width * scale)), max(spec.resize_to, round(height * scale))
    scale = max(spec.width / width, spec.height / height)
    return max(spec.width, round(width * scale)), max(spec.height, round(height * scale))


def _letterbox(width: int, height: int, spec: ImageSpec, *, is_centred: bool) -> Placement:
    """Centred, the numbers are ultralytics' (sides rounded, the odd pixel right and below); else YOLOX's.

    Both are trained on boxes that were multiplied by the scale, so the way back divides by it.
    """
    scale = min(spec.width / width, spec.height / height)
    fit = round if is_centred else int
    size = (max(1, fit(width * scale)), max(1, fit(height * scale)))
    offset = ((spec.width - size[0]) // 2, (spec.height - size[1]) // 2) if is_centred else (0, 0)
    return Placement((width, height), size, offset, scale)
