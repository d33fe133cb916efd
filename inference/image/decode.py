"""Encoded bytes to upright RGB pixels, within limits that are checked before any pixel is made room for.

It refuses half images: what is truncated or broken is InvalidImage, whatever part of it could be shown.
"""

from __future__ import annotations

from importlib import import_module

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile

from inference.errors import ImageTooLarge, InferenceError, InvalidImage
from inference.image.avif import check_frames
from inference.image.bombs import BoundedReads, check_claims, check_parts, check_runs, check_tiles
from inference.image.formats import identify
from inference.image.layouts import check_layout
from inference.image.pixels import on_white, to_rgb
from inference.image.quiet import silence_libtiff, silence_pillow
from inference.image.scans import check_scans
from inference.settings import ImageSettings

# Our own limits are checked straight after open. Pillow's guard would print a warning at half its limit and, at 179
# million pixels, overrule a larger limit that an operator has set.
Image.MAX_IMAGE_PIXELS = None

silence_pillow()

#: Formats that Pillow knows only by a plugin which it has to be given; by itself it would import all forty.
_PLUGINS = {"AVIF": "PIL.AvifImagePlugin", "TIFF": "PIL.TiffImagePlugin", "WEBP": "PIL.WebPImagePlugin"}

#: A JPEG is decoded smaller only to sizes that are at least this many times the target, so that the filter which
#: makes the rest of the way still has two source pixels for each of its own. Pillow's `thumbnail` takes the same
#: figure ("reducing_gap … 2.0 or greater is close to fair resampling").
DRAFT_MARGIN = 2

_PNG_DEPTH_OFFSET = 24

#: EXIF orientation → what makes the stored pixels upright. Source: EXIF 2.32, tag 0x0112.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = frozenset({5, 6, 7, 8})
#: Those whose upright left, or top, is where what is stored ends, at the right or below.
_FROM_RIGHT, _FROM_BELOW = frozenset({2, 3, 6, 7}), frozenset({3, 4, 7, 8})


class DecodedImage(Struct, frozen=True, eq=False):
    """An image as a viewer shows it."""

    #: Mode RGB, loaded; both sides divided by `reduced_by` and rounded up. What only resizes it needs no array of it.
    picture: Image.Image
    #: Pixels of the full image, upright, also where `picture` is smaller.
    width: int
    height: int
    #: JPEG, PNG, WEBP, GIF, BMP, TIFF or AVIF.
    format: str
    #: 1, or with a `target` 2, 4 or 8: the pixel (x, y) of `picture` lies at origin + (x, y) * reduced_by in the image.
    reduced_by: int = 1
    #: Left of the image and above it by what the last pixels that are stored reach beyond it, where these come first.
    origin: tuple[int, int] = (0, 0)

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """The pixels of `picture` as a height x width x 3 array, read-only; a copy, made each time."""
        return np.asarray(self.picture)


def decode(data: bytes, settings: ImageSettings, *, target: tuple[int, int] | None = None) -> DecodedImage:
    """Decode the first frame of an image to upright RGB.

    `target` is the (width, height) that the upright picture is going to be scaled to, or less; a JPEG is then decoded
    at half, a quarter or an eighth of its size, by leaving out frequencies, as long as DRAFT_MARGIN holds. Without it
    every pixel is exact.

    Raises InvalidImage, UnsupportedImage, ImageTooLarge.
    """
    name = identify(data)
    check_parts(name, data)
    if plugin := _PLUGINS.get(name):
        import_module(plugin)
    if name == "TIFF":
        silence_libtiff()
    elif name == "AVIF":
        check_frames(data, settings.max_image_pixels)
    try:
        file = BoundedReads(data)
        with Image.open(file, formats=(name,)) as image:
            file.begin_pixels(name)
            _check_size(image.size, settings)
            if name == "JPEG":
                check_scans(data)
            elif name == "TIFF":
                check_tiles(data, settings.max_image_pixels)
                check_claims(data, settings.max_image_pixels)
                check_layout(image)
            elif name == "BMP" and any(tile.codec_name == "bmp_rle" for tile in image.tile):
                check_runs(image.size)
            return _load(image, name, data, target)
    except InferenceError:
        raise
    except MemoryError as exc:
        raise ImageTooLarge("The image does not fit into memory.") from exc
    except Exception as exc:
        # Over thousands of broken files Pillow raised OSError, ValueError, SyntaxError, struct.error, KeyError and
        # more; each of them means the same.
        raise InvalidImage(f"The bytes are not a readable {name} image.") from exc


def preload() -> None:
    """Import what reads the usual formats; Pillow would do so while the first image waits."""
    Image.preinit()


def _check_size(size: tuple[int, int], settings: ImageSettings) -> None:
    width, height = size
    if max(size) > settings.max_image_side or width * height > settings.max_image_pixels:
        raise ImageTooLarge(
            f"The image has {width} x {height} pixels; the limits are {settings.max_image_pixels} pixels "
            f"and {settings.max_image_side} on a side."
        )
    if min(size) < 1:
        raise InvalidImage("The image has no pixels.")


def _load(image: ImageFile.ImageFile, name: str, data: bytes, target: tuple[int, int] | None) -> DecodedImage:
    if name == "AVIF":
        # Its own boxes alone turn it (irot, imir), of which Pillow makes EXIF; without one it would believe XMP.
        image.info.pop("xmp", None)
    size = image.size
    # A GIF's frame may be smaller than its screen.
    drawn = image.tile[0].extents if name == "GIF" else None
    reduced_by = _reduce(image, target) if target is not None and name == "JPEG" else 1
    image.load()
    # Only now: a PNG may tell its orientation after its pixels, and Pillow has turned a TIFF while loading, the size of
    # which it had told before if the tag says so, and not if XMP does.
    orientation = _read_orientation(image)
    size = image.size if name == "TIFF" else size
    upright = to_rgb(image, data[_PNG_DEPTH_OFFSET] if name == "PNG" else None)
    if drawn is not None:
        upright = on_white(upright, drawn)
    if orientation in _UPRIGHT:
        upright = upright.transpose(_UPRIGHT[orientation])
    width, height = _turned(size, orientation)
    beyond = width - upright.width * reduced_by, height - upright.height * reduced_by
    origin = (beyond[0] if orientation in _FROM_RIGHT else 0, beyond[1] if orientation in _FROM_BELOW else 0)
    return DecodedImage(upright, width, height, name, reduced_by, origin)


def _reduce(image: Image.Image, target: tuple[int, int]) -> int:
    """Have a JPEG decoded smaller where DRAFT_MARGIN allows it; return the divisor, one of 1, 2, 4 and 8."""
    wanted_width, wanted_height = _turned(target, _read_orientation(image))
    width = image.width
    # Pillow takes the largest divisor that leaves both sides at least as long as asked for.
    drafted = image.draft(None, (wanted_width * DRAFT_MARGIN, wanted_height * DRAFT_MARGIN))
    return round(width / drafted[1][2]) if drafted else 1


def _read_orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # broken EXIF breaks no picture: every viewer shows it as it is stored
        return 1
    return orientation if isinstance(orientation, int) else 1


def _turned(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return (size[1], size[0]) if orientation in _SIDEWAYS else size
