"""Resizing of pixels with Pillow's antialiased filters, which are the ones that networks are trained with.

There are two ways to the same pixels. Pillow's own is exact by definition. fast_image_resize (by way of cykooz_resizer)
computes the same filters with SIMD in a sixth to a tenth of the time; its weights have 16 bits where Pillow's have 32,
so that a few values in a thousand are rounded to the next level, and more at sizes in a ratio that makes many lie
midway. It refuses to decide what goes where: `inference.models.geometry` does.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

try:
    import cykooz_resizer
except ImportError:  # it has no wheel for Linux on arm64
    cykooz_resizer = None

type Box = tuple[float, float, float, float]
type Interpolation = Literal["nearest", "bilinear", "bicubic"]

#: Upright RGB: a height x width x 3 array, or Pillow's own picture, which it need not be copied into first.
type Pixels = NDArray[np.uint8] | Image.Image

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}

#: A picture is resized whole where that makes no more pixels than this, or than this many times those that are shown.
#: An image a thousand times as wide as high would take gigabytes, of which the window shows a sliver.
_MAX_PIXELS = 4_000_000
_MAX_COVER = 4

#: Pixels of the image, or of the result if that is smaller, that a filter reaches to either side.
_REACH = {"bilinear": 1, "bicubic": 2}


def measure(pixels: Pixels) -> tuple[int, int]:
    """Return (width, height)."""
    return pixels.size if isinstance(pixels, Image.Image) else (pixels.shape[1], pixels.shape[0])


def resize(
    pixels: Pixels,
    size: tuple[int, int],
    interpolation: Interpolation,
    window: tuple[int, int, int, int] | None = None,
    *,
    exact: bool = False,
) -> NDArray[np.uint8]:
    """Return what `window` (left, top, right, bottom; default: all) shows of the pixels at `size` (width, height).

    Height x width x 3. `exact` gives Pillow's pixels, else some differ by one or two of 255 levels.
    """
    window = window or (0, 0, *size)
    if size == measure(pixels):
        left, top, right, bottom = window
        return np.asarray(pixels)[top:bottom, left:right]
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    if exact or cykooz_resizer is None or interpolation == "nearest":
        return _resize_exactly(picture, size, interpolation, window)
    return np.asarray(_resize_shown(picture, size, interpolation, window, _convolve))


def _resize_exactly(
    picture: Image.Image, size: tuple[int, int], interpolation: Interpolation, window: tuple[int, int, int, int]
) -> NDArray[np.uint8]:
    """Resize the whole picture and cut, since Pillow holds a part's edges in single precision.

    Where that would make far too many pixels, the part is resized, and a few of them differ.
    """
    left, top, right, bottom = window
    shown = (right - left, bottom - top)
    if size[0] * size[1] <= max(_MAX_PIXELS, _MAX_COVER * shown[0] * shown[1]):
        return np.asarray(picture.resize(size, _RESAMPLING[interpolation]))[top:bottom, left:right]
    if interpolation == "nearest":
        return np.asarray(picture.resize(shown, _RESAMPLING[interpolation], box=_box(picture.size, size, window)))
    # Not at once: Pillow would choose the order by the part's size.
    return np.asarray(_resize_shown(picture, size, interpolation, window, _convolve_exactly))


def _resize_shown(
    picture: Image.Image,
    size: tuple[int, int],
    interpolation: Literal["bilinear", "bicubic"],
    window: tuple[int, int, int, int],
    convolve: Callable[[Image.Image, tuple[int, int], Interpolation, Box], Image.Image],
) -> Image.Image:
    """Resize one direction after the other, of each what the window shows.

    Levels are rounded in between, so the order is Pillow's for the whole picture: sideways first, but for pictures that
    lose far more rows than columns (ImagingResampleInner of Pillow 13).
    """
    width, height = picture.size
    left, top, right, bottom = _box(picture.size, size, window)
    shown = (window[2] - window[0], window[3] - window[1])
    reach = _REACH[interpolation]
    if height > size[1] and height - size[1] > 2 * (width - size[0]):
        first, last = _reached(left, right, width, width / size[0], reach)
        picture = convolve(picture, (last - first, shown[1]), interpolation, (first, top, last, bottom))
        return convolve(picture, shown, interpolation, (left - first, 0, right - first, shown[1]))
    first, last = _reached(top, bottom, height, height / size[1], reach)
    picture = convolve(picture, (shown[0], last - first), interpolation, (left, first, right, last))
    return convolve(picture, shown, interpolation, (0, top - first, shown[0], bottom - first))


def _box(source: tuple[int, int], size: tuple[int, int], window: tuple[int, int, int, int]) -> Box:
    """Return the part of a picture that a window of the resized picture shows."""
    x_scale, y_scale = source[0] / size[0], source[1] / size[1]
    left, top, right, bottom = window
    return left * x_scale, top * y_scale, min(source[0], right * x_scale), min(source[1], bottom * y_scale)


def _reached(begin: float, end: float, length: int, scale: float, reach: int) -> tuple[int, int]:
    """Return the first row or column that a filter for begin … end reads, and the one after the last."""
    margin = reach * max(scale, 1)
    return max(0, math.floor(begin - margin)), min(length, math.ceil(end + margin))


def _convolve_exactly(
    picture: Image.Image, size: tuple[int, int], interpolation: Interpolation, box: Box
) -> Image.Image:
    """Return the box of a picture at a size, as `_convolve` does, by Pillow."""
    return picture.resize(size, _RESAMPLING[interpolation], box=box)


_local = threading.local()


def _convolve(picture: Image.Image, size: tuple[int, int], interpolation: Interpolation, box: Box) -> Image.Image:
    """Return the box of a picture at a size. It reads and writes Pillow's memory where it lies, without the lock."""
    if not hasattr(_local, "resizer"):
        # One a thread: a resizer is locked while it works.
        _local.resizer = cykooz_resizer.Resizer()
    filters = cykooz_resizer.FilterType
    options = cykooz_resizer.ResizeOptions(
        resize_alg=cykooz_resizer.ResizeAlg.convolution(
            filters.bilinear if interpolation == "bilinear" else filters.catmull_rom
        ),
        use_alpha=False,
        crop_box=cykooz_resizer.CropBox(box[0], box[1], box[2] - box[0], box[3] - box[1]),
    )
    resized = Image.new("RGB", size)
    _local.resizer.resize_pil(picture, resized, options)
    return resized
