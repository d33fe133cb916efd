"""Refuses files that cost out of all proportion to their bytes and pixels: parts repeated without end, oversized tiles.

It refuses to judge whether a file is right, and finds what it counts without walking the file as Pillow does: a walk
that differs anywhere from Pillow's can be led past something.
"""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Iterator
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from inference.errors import ImageTooLarge, InvalidImage

#: A file has one of each, a film after the picture or a burst some more. Pillow appends the EXIF of a second segment to
#: that of the first, a copy each time (20 MB of 20-byte segments took minutes), and inflates every colour profile.
MAX_REPEATS: Final = 100
_COUNTED: Final = {"JPEG": (b"Exif\0\0", "EXIF segments"), "PNG": (b"iCCP", "colour profiles")}

#: Pillow takes three for each segment or chunk, two for each block of a GIF's comment: encoders write some hundreds at
#: most. It keeps an object for each, so that 20 MB of the smallest took up to 13 seconds and 880 MB.
MAX_READS: Final = 100_000

#: Reads that the pixels may take, after those above. Pillow reads each chunk of a PNG, also those after the pixels,
#: and each run of a BMP, which it decodes in Python; a TIFF of many strips or much EXIF takes some more.
_PIXEL_READS: Final = {"PNG": MAX_READS, "BMP": 2_000_000, "TIFF": 1_000_000}

#: Pillow fills up what the runs of a BMP leave out of a row pixel by pixel, in Python: 40 million pixels of 10 KB took
#: seven seconds. A screen of 4096 x 2160 is less.
MAX_RUN_PIXELS: Final = 10_000_000

#: 40 million pixels in the smallest tiles that TIFF has, 16 x 16, are 156,250. Pillow makes an object for each offset.
MAX_TILES: Final = 200_000

_WIDTH, _HEIGHT, _STRIP_OFFSETS, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS = 256, 257, 273, 322, 323, 324
_STRIP_SIZES, _TILE_SIZES = 279, 325
_LISTS: Final = (_STRIP_OFFSETS, _TILE_OFFSETS, _STRIP_SIZES, _TILE_SIZES)
_SIDES: Final = (_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT)
#: TIFF's types of whole numbers → their format: BYTE, SHORT, LONG, LONG8.
_WHOLE: Final = {1: "B", 3: "H", 4: "I", 16: "Q"}
#: And what libtiff takes for one: SBYTE, SSHORT, SLONG, IFD, SLONG8, IFD8. It refuses a negative one.
_WHOLE_TO_LIBTIFF: Final = {**_WHOLE, 6: "B", 8: "H", 9: "I", 13: "I", 17: "Q", 18: "Q"}

#: Of a strip or tile that claims more, libtiff reads ten times its pixels (TIFFFillStrip of 4.7).
_CAPPED_BYTES: Final = 1024 * 1024
#: What all strips and tiles may claim for each pixel that an image may have; it is 4 uncompressed.
_CLAIMED_BYTES_PER_PIXEL: Final = 8


class _Entry(Struct, frozen=True):
    """One entry of a TIFF's directory."""

    tag: int
    kind: int
    count: int
    #: The value where it fits, else where it is.
    value: bytes


class BoundedReads(io.BytesIO):
    """A file that raises ImageTooLarge for the read after MAX_READS, which `begin_pixels` gives anew."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes."""
        self._left -= 1
        if self._left < 0:
            raise ImageTooLarge("The image has too many parts.")
        return super().read(size)

    def begin_pixels(self, name: str) -> None:
        """Allow the reads that the pixels of the format `name` may take."""
        self._left = _PIXEL_READS.get(name, sys.maxsize)


def check_parts(name: str, data: bytes) -> None:
    """Raise ImageTooLarge for a file of the format `name` that has too many parts to be opened at all."""
    if name in _COUNTED:
        mark, what = _COUNTED[name]
        if data.count(mark) > MAX_REPEATS:
            raise ImageTooLarge(f"The image has more than {MAX_REPEATS} {what}.")
    if name == "TIFF" and any(entry.count > MAX_TILES for entry in _entries(data) if entry.tag in _LISTS):
        raise ImageTooLarge(f"The image has more than {MAX_TILES} strips or tiles.")


def check_runs(size: tuple[int, int]) -> None:
    """Raise ImageTooLarge for a BMP of runs that has more than MAX_RUN_PIXELS."""
    if size[0] * size[1] > MAX_RUN_PIXELS:
        raise ImageTooLarge(f"A BMP of runs has at most {MAX_RUN_PIXELS} pixels; the image has {size[0]} x {size[1]}.")


def check_claims(data: bytes, max_pixels: int) -> None:
    """Raise ImageTooLarge for a TIFF whose strips or tiles claim far more bytes than its pixels could take.

    They may all lie at one place, and a megabyte of deflate can hold 256 pixels: a megabyte of file took minutes.
    """
    order = _order(data)
    claimed = 0
    for entry in _entries(data):
        if entry.tag in {_STRIP_SIZES, _TILE_SIZES} and entry.kind in _WHOLE_TO_LIBTIFF:
            # both tags mean the same to libtiff, and whichever it goes by is among those that are added up
            sizes = _read_array(data, entry, np.dtype(order + _WHOLE_TO_LIBTIFF[entry.kind]))
            claimed += int(np.minimum(sizes.astype(np.uint64), _CAPPED_BYTES).sum())
    if claimed > _CLAIMED_BYTES_PER_PIXEL * max_pixels:
        raise ImageTooLarge("The strips or tiles of the image claim more bytes than its pixels could take.")


def check_tiles(data: bytes, max_pixels: int) -> None:
    """Raise ImageTooLarge for a TIFF whose tiles reach far over its edges: they are decoded whole.

    With their edges they may have twice the pixels that an image may. Raises InvalidImage for a size told twice, or by
    no whole number: libtiff and Pillow could read two.
    """
    order = _order(data)
    sides: dict[int, int] = {}
    for entry in _entries(data):
        if entry.tag not in _SIDES:
            continue
        if entry.tag in sides or entry.count != 1 or entry.kind not in _WHOLE:
            raise InvalidImage("The size of the image or of its tiles is not told by one whole number.")
        (sides[entry.tag],) = struct.unpack_from(order + _WHOLE[entry.kind], entry.value)
    pixels = 1
    for side, tile_side in ((_WIDTH, _TILE_WIDTH), (_HEIGHT, _TILE_HEIGHT)):
        length, tile = sides.get(side, 0), max(1, sides.get(tile_side, 1))
        pixels *= -(-length // tile) * tile
    if pixels > 2 * max_pixels:
        raise ImageTooLarge(f"The tiles of the image have {pixels} pixels; the limit is {2 * max_pixels}.")


def _order(data: bytes) -> str:
    return "<" if data.startswith(b"II") else ">"


def _read_array(data: bytes, entry: _Entry, dtype: np.dtype[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    """Return the values of an entry, as far as there are bytes."""
    value, start = entry.value, 0
    if entry.count * dtype.itemsize > len(value):
        start = int.from_bytes(value, "little" if _order(data) == "<" else "big")
        value = data
    count = min(entry.count, max(0, len(value) - start) // dtype.itemsize)
    return np.frombuffer(value, dtype, count, start if count else 0)


def _entries(data: bytes) -> Iterator[_Entry]:
    """Yield the entries of the first directory, of an ordinary or a big TIFF, as far as there are bytes."""
    order = _order(data)
    is_big = b"+" in data[2:4]
    start, number, entry = ("8xQ", "Q", "HHQ8s") if is_big else ("4xI", "H", "HHI4s")
    try:
        (offset,) = struct.unpack_from(order + start, data)
        (count,) = struct.unpack_from(order + number, data, offset)
    except (struct.error, OverflowError):
        return  # it has no directory, as Pillow will find
    offset += struct.calcsize(order + number)
    size = struct.calcsize(order + entry)
    whole = min(count, (len(data) - offset) // size)
    for fields in struct.iter_unpack(order + entry, data[offset : offset + whole * size]):
        yield _Entry(*fields)
