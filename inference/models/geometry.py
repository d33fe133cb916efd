"""Where an image lands on a model's canvas, for every way to resize; and the way back from canvas to image.

It refuses to touch pixels: numbers in, numbers out.
"""

from __future__ import annotations

from dataclasses import dataclass

from inference.models.spec import ImageSpec


@dataclass(frozen=True, slots=True)
class Placement:
    """Which part of the image is drawn where on the canvas, in pixels of each."""

    #: Left, top, right, bottom of the part of the image.
    box: tuple[float, float, float, float]
    #: Width, height that it takes on the canvas.
    size: tuple[int, int]
    #: Left, top of it on the canvas.
    offset: tuple[int, int]

    def to_image(self, x: float, y: float) -> tuple[float, float]:
        """Return the point of the image that is drawn at a point of the canvas."""
        left, top, right, bottom = self.box
        return (
            left + (x - self.offset[0]) * (right - left) / self.size[0],
            top + (y - self.offset[1]) * (bottom - top) / self.size[1],
        )


def place(width: int, height: int, spec: ImageSpec) -> Placement:
    """Return the placement of a `width` x `height` image."""
    match spec.resize:
        case "stretch":
            return Placement((0, 0, width, height), (spec.width, spec.height), (0, 0))
        case "shorter-side":
            return _crop_centre(width, height, spec)
        case "letterbox" | "letterbox-top-left":
            return _letterbox(width, height, spec, is_centred=spec.resize == "letterbox")


def _crop_centre(width: int, height: int, spec: ImageSpec) -> Placement:
    """The numbers of torchvision's Resize and CenterCrop (truncated long side, crop offset rounded half to even).

    The crop is taken in the image, before the resize, which gives the same pixels and costs only those of the canvas,
    even where the image is a thousand times as wide as high.
    """
    resized_width, resized_height = _cover(width, height, spec)
    left = round((resized_width - spec.width) / 2)
    top = round((resized_height - spec.height) / 2)
    across, down = width / resized_width, height / resized_height
    box = (
        left * across,
        top * down,
        min((left + spec.width) * across, width),
        min((top + spec.height) * down, height),
    )
    return Placement(box, (spec.width, spec.height), (0, 0))


def _cover(width: int, height: int, spec: ImageSpec) -> tuple[int, int]:
    if spec.resize_to is not None:
        if width <= height:
            return spec.resize_to, int(spec.resize_to * height / width)
        return int(spec.resize_to * width / height), spec.resize_to
    if spec.width * height >= spec.height * width:
        return spec.width, max(spec.height, int(spec.width * height / width))
    return max(spec.width, int(spec.height * width / height)), spec.height


def _letterbox(width: int, height: int, spec: ImageSpec, *, is_centred: bool) -> Placement:
    """Centred, the numbers are ultralytics' (sides rounded, the odd pixel right and below); else YOLOX's."""
    scale = min(spec.width / width, spec.height / height)
    fit = round if is_centred else int
    size = (max(1, fit(width * scale)), max(1, fit(height * scale)))
    offset = ((spec.width - size[0]) // 2, (spec.height - size[1]) // 2) if is_centred else (0, 0)
    return Placement((0, 0, width, height), size, offset)
