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


def resize(
    rgb: NDArray[np.uint8],
    size: tuple[int, int],
    interpolation: Literal["nearest", "bilinear", "bicubic"],
    box: tuple[float, float, float, float] | None = None,
) -> NDArray[np.uint8]:
    """Return `box` (left, top, right, bottom; default: all) of a height x width x 3 array at `size` (width, height)."""
    height, width = rgb.shape[:2]
    if size == (width, height) and box in (None, (0, 0, width, height)):
        return rgb
    resized = Image.fromarray(rgb).resize(size, _RESAMPLING[interpolation], box=box)
    return np.asarray(resized)
