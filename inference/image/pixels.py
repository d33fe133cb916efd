"""One documented way from every kind of pixel that Pillow reads to 8-bit RGB, as a viewer shows it on white paper.

It refuses to guess: pixels whose brightness nobody defined are UnsupportedImage, never silently clipped. Colour
profiles are ignored, as in the pipelines that networks are trained with: a pixel's stored value is what counts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.errors import UnsupportedImage

_DIRECT_MODES = frozenset({"RGB", "RGBX", "L", "P", "1", "CMYK", "YCbCr"})
_ALPHA_MODES = frozenset({"RGBA", "RGBa", "LA", "La", "PA"})
_WHITE = (255, 255, 255)

#: TIFF tags and the value of PhotometricInterpretation that means "zero is white".
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0


def to_rgb(image: Image.Image, png_depth: int | None = None) -> Image.Image:
    """Return a loaded image in mode RGB; transparency is composited on white.

    `png_depth` is the bit depth of a PNG: its transparent colour is told in that depth, not in that of Pillow's pixels.
    CMYK is converted without a profile; Pillow has inverted Adobe's JPEGs already. Raises UnsupportedImage.
    """
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return _from_deep_grey(image).convert("RGB")
    if image.mode not in _DIRECT_MODES | _ALPHA_MODES:
        raise UnsupportedImage(f"Images in the colour space {image.mode} are not supported.")
    if image.has_transparency_data and not _has_unused_alpha(image):
        return _blend(_with_alpha(image, png_depth or 8))
    return image if image.mode == "RGB" else image.convert("RGB")


def on_white(image: Image.Image, drawn: tuple[int, int, int, int]) -> Image.Image:
    """Return an RGB picture of which no more was drawn than the part (left, top, right, bottom): the rest is white."""
    if drawn == (0, 0, *image.size):
        return image
    paper = Image.new("RGB", image.size, _WHITE)
    paper.paste(image.crop(drawn), drawn)
    return paper


def _has_unused_alpha(image: Image.Image) -> bool:
    """Tell whether it is a BMP whose alpha is 0 everywhere: many programs write it so and mean nothing by it."""
    return image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0)


def _with_alpha(image: Image.Image, png_depth: int) -> Image.Image:
    key = image.info.get("transparency")
    if isinstance(key, int) and image.mode in {"1", "L"}:
        # Grey of 1, 2 or 4 bits is stretched to 8 by Pillow, its transparent value is not.
        image = image.convert("L") if image.mode == "1" else image
        image.info["transparency"] = key * 255 // (2**png_depth - 1)
    elif isinstance(key, tuple) and png_depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in key)
    return image if image.mode == "RGBA" else image.convert("RGBA")


def _blend(image: Image.Image) -> Image.Image:
    """Return RGBA on white paper."""
    alpha = image.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return image.convert("RGB")
    paper = Image.new("RGB", image.size, _WHITE)
    paper.paste(image, mask=alpha)
    return paper


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """Return grey of 8 bits from grey of more: scaled, where Pillow's own conversion saturates.

    Floats are brightness from 0 to 1, integers use their declared bits; values outside of that are refused.
    """
    tags = getattr(image, "tag_v2", {})
    values = np.asarray(image)
    if image.mode == "F":
        grey = _scaled_floats(values)
    elif image.mode == "I":
        grey = _high_byte(values, bits=16)
    else:
        grey = _high_byte(values, bits=min(tags.get(_BITS_PER_SAMPLE, (16,))[0], 16))
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey[values == key] = 255
    return Image.fromarray(grey)


def _scaled_floats(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    if not (values.min() >= 0 and values.max() <= 1):  # nan compares false
        raise UnsupportedImage("Floating-point pixels outside of 0 to 1 have no defined brightness.")
    return np.rint(values * 255).astype(np.uint8)


def _high_byte(values: NDArray[np.integer], bits: int) -> NDArray[np.uint8]:
    if values.min() < 0 or values.max() >= 1 << bits:
        raise UnsupportedImage(f"Grey values outside of {bits} bits have no defined brightness.")
    return (values >> (bits - 8)).astype(np.uint8)
