"""Resizing of pixels, by Pillow, whose antialiased filters are the ones that networks are trained with.

It refuses to decide what goes where: `inference.models.geometry` does.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


#: Upright RGB: a height x width x 3 array, or Pillow's own picture, which it need not be copied into first.
type Pixels = NDArray[np.uint8] | Image.Image


def measure(pixels: Pixels) -> tuple[int, int]:
    """Return (width, height)."""
    return pixels.size if isinstance(pixels, Image.Image) else (pixels.shape[1], pixels.shape[0])


def resize(
    pixels: Pixels,
    size: tuple[int, int],
    interpolation: Literal["nearest", "bilinear", "bicubic"],
    box: tuple[float, float, float, float] | None = None,
) -> NDArray[np.uint8]:
    """Return `box` (left, top, right, bottom; default: all) at `size` (width, height): height x width x 3."""
    width, height = measure(pixels)
    if size == (width, height) and box in (None, (0, 0, width, height)):
        return np.asarray(pixels)
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    return np.asarray(picture.resize(size, _RESAMPLING[interpolation], box=box))
