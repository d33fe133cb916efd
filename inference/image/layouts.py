"""Where Pillow would make other pixels of a TIFF's samples than they are: set right where that is simple, else refused.

It refuses to judge values: `inference.image.pixels` does.
"""

from __future__ import annotations

from typing import Any, Final

from PIL import ImageFile, ImagePalette

from inference.errors import UnsupportedImage

_BITS_PER_SAMPLE, _PHOTOMETRIC, _FILL_ORDER, _PLANAR, _COLOURS, _SUBSAMPLING = 258, 262, 266, 284, 320, 530
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _YCBCR = 0, 1, 6
_IN_PLANES: Final = 2
_LOW_BIT_FIRST: Final = 2

#: Pillow's names of big-endian samples → of those in the machine's order, in which libtiff gives them. Pillow itself
#: knows it of I;16 alone, and would swap others once more: 1.0 would be a number next to 0.
_NATIVE: Final = {"F;32BF": "F;32NF", "I;16BS": "I;16NS", "I;32BS": "I;32NS"}


def check_layout(image: ImageFile.ImageFile) -> None:
    """Have a TIFF that is not loaded yet read as it is written. Raises UnsupportedImage where Pillow cannot."""
    tags = getattr(image, "tag_v2", {})
    colours = tags.get(_COLOURS, ())
    if image.mode in {"P", "PA"} and max(colours) < 256:
        # Of 16 bits by the specification, but some programs write 8; libtiff tells it in this way.
        image.palette = ImagePalette.raw("RGB;L", bytes(colours))
    tile = image.tile[0]
    if tile.codec_name != "libtiff":
        _check_uncompressed(tags)
    elif isinstance(tile.args, tuple) and tile.args[0] in _NATIVE:
        image.tile = [tile._replace(args=(_NATIVE[tile.args[0]], *tile.args[1:]))]


def _check_uncompressed(tags: Any) -> None:
    # Pillow reads a row of pixels, where there are blocks of several with one colour.
    if tags.get(_PHOTOMETRIC) == _YCBCR and tuple(tags.get(_SUBSAMPLING, (2, 2))) != (1, 1):
        raise UnsupportedImage("Uncompressed TIFFs of subsampled colour are not supported.")
    if tags.get(_PLANAR) == _IN_PLANES and not _has_plain_planes(tags):
        raise UnsupportedImage("Uncompressed TIFFs in planes are supported with plain samples of 8 bits only.")


def _has_plain_planes(tags: Any) -> bool:
    """Tell whether the first letter of Pillow's raw mode says all of it, which is what it reads each plane by."""
    if tags.get(_FILL_ORDER) == _LOW_BIT_FIRST or tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        return False
    bits = {*tags.get(_BITS_PER_SAMPLE, (1,))}
    return bits == {8} or (bits == {1} and tags.get(_PHOTOMETRIC) == _BLACK_IS_ZERO)
