"""Adds up the pixels of the frames in an AVIF, of which any number may lie where one is shown.

It refuses to judge any other part of the file: libavif does. Everything that libavif might decode is counted, which of
it the picture needs does not matter.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import chain, product
from typing import Final

from msgspec import Struct

from inference.errors import ImageTooLarge, InvalidImage

#: Pixels of all frames for each pixel that an image may have. There are colour, alpha, a thumbnail and perhaps four
#: layers of each. A frame of 36 million pixels has 826 bytes and takes a fifth of a second: a megabyte took minutes.
_PIXELS_PER_PIXEL: Final = 8

#: More extents or units, and more boxes in one, than any picture has: of the smallest cells of a grid, 64 x 64, 10,000
#: have 40 million pixels.
_MAX_PARTS: Final = 100_000
_MAX_BOXES: Final = 20_000

#: How often the bytes of the file may be part of items: the cells of a grid can all be one.
_MAX_SHARING: Final = 64

#: Tracks, and places of their first samples; a film has one or two.
_MAX_TRACKS: Final = 16

_TOO_MANY: Final = "The image has too many parts."

#: Open bitstream units (AV1 specification, 6.2.2): a sequence header, and what begins a frame.
_SEQUENCE_HEADER: Final = 1
_FRAMES: Final = frozenset({3, 6, 7})

#: Construction methods of an item (ISO/IEC 14496-12, 8.11.3): in the file, in `idat`. libavif knows no other.
_IN_FILE, _IN_IDAT = 0, 1


class _Extent(Struct, frozen=True):
    """A piece of an item."""

    method: int
    offset: int
    #: 0 is up to the end.
    length: int


def check_frames(data: bytes, max_pixels: int) -> None:
    """Raise ImageTooLarge for a file whose frames have far more pixels than an image may have.

    Raises InvalidImage where they cannot be counted.
    """
    try:
        pixels = _count_pixels(data)
    except (struct.error, IndexError) as exc:
        raise InvalidImage("The bytes are not a readable AVIF image.") from exc
    if pixels > _PIXELS_PER_PIXEL * max_pixels:
        raise ImageTooLarge(f"The frames of the image have more than {_PIXELS_PER_PIXEL * max_pixels} pixels.")


def _count_pixels(data: bytes) -> int:
    # One decoder may read all of them, and keeps the sequence header of the one before: each frame may be the largest.
    frames = units = largest = 0
    for stream in chain(_items(data), _first_samples(data)):
        for kind, unit in _units(stream):
            units += 1
            if units > _MAX_PARTS:
                raise ImageTooLarge(_TOO_MANY)
            frames += kind in _FRAMES
            if kind == _SEQUENCE_HEADER:
                largest = max(largest, _frame_pixels(unit))
    if not frames * largest:
        raise InvalidImage("The image has no frame.")
    return frames * largest


def _first_samples(data: bytes) -> Iterator[bytes]:
    """Yield the first sample of each track of a film: libavif decodes no other for its first frame."""
    tables = [data]
    for level in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        tables = [content for table in tables for kind, content in _boxes(table) if kind == level]
        if len(tables) > _MAX_TRACKS:
            raise ImageTooLarge(_TOO_MANY)
    for table in tables:
        boxes = list(_boxes(table))
        offsets = [int.from_bytes(box[8:12]) for kind, box in boxes if kind == b"stco"]
        offsets += [int.from_bytes(box[8:16]) for kind, box in boxes if kind == b"co64"]
        sizes = [int.from_bytes(box[4:8]) or int.from_bytes(box[12:16]) for kind, box in boxes if kind == b"stsz"]
        if len(offsets) * len(sizes) > _MAX_TRACKS:
            raise ImageTooLarge(_TOO_MANY)
        for offset, size in product(offsets, sizes):
            yield data[offset : offset + size]


def _items(data: bytes) -> Iterator[bytes]:
    """Yield the bytes of each item but texts and EXIF, which may look like any stream."""
    meta = next((content for kind, content in _boxes(data) if kind == b"meta"), b"")
    boxes = list(_boxes(meta[4:]))
    locations = [content for kind, content in boxes if kind == b"iloc"]
    if len(locations) > 1:
        raise InvalidImage("The image says more than once where its items are.")
    sources = {_IN_FILE: data, _IN_IDAT: b"".join(content for kind, content in boxes if kind == b"idat")}
    left = _MAX_SHARING * len(data)
    passed = _texts(boxes)
    for number, extents in chain.from_iterable(_locations(box).items() for box in locations):
        if number in passed:
            continue
        pieces = [_cut(sources.get(extent.method, b""), extent) for extent in extents]
        size = sum(map(len, pieces))
        left -= size
        if size > len(data) or left < 0:
            raise ImageTooLarge("The items of the image have more bytes than the image.")
        yield b"".join(pieces)


def _texts(boxes: Iterable[tuple[bytes, bytes]]) -> set[int]:
    """Return the numbers of the items that are only said to be text or EXIF (`iinf`): libavif decodes none of them."""
    kinds: dict[int, set[bytes]] = {}
    for _, information in filter(lambda box: box[0] == b"iinf", boxes):
        for kind, entry in _boxes(information[8 if information[0] else 6 :]):
            if kind == b"infe":
                wide = 4 if entry[0] == 3 else 2
                kinds.setdefault(int.from_bytes(entry[4 : 4 + wide]), set()).add(entry[6 + wide : 10 + wide])
    return {number for number, found in kinds.items() if found <= {b"Exif", b"mime"}}


def _cut(source: bytes, extent: _Extent) -> memoryview:
    view = memoryview(source)[extent.offset :]
    return view[: extent.length] if extent.length else view


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of the boxes, up to what is none."""
    position = number = 0
    while position + 8 <= len(data):
        number += 1
        if number > _MAX_BOXES:
            raise ImageTooLarge(_TOO_MANY)
        size, kind = struct.unpack_from(">I4s", data, position)
        begin = position + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, begin)
            begin += 8
        end = position + size if size else len(data)
        if not begin <= end <= len(data):
            return
        yield kind, data[begin:end]
        position = end


def _locations(box: bytes) -> dict[int, list[_Extent]]:
    """Return the extents of each item by its number (`iloc`)."""
    version = box[0]
    if version > 2:
        raise InvalidImage("The image says in an unknown way where its items are.")
    sizes = (box[4] >> 4, box[4] & 15, box[5] >> 4)
    offset_size, length_size, base_size = sizes
    if any(size not in {0, 4, 8} for size in sizes) or not length_size or (version and box[5] & 15):
        raise InvalidImage("The image says in an unknown way where its items are.")
    reader = _Reader(box, 6)
    wide = 4 if version == 2 else 2
    items: dict[int, list[_Extent]] = {}
    parts = 0
    for _ in range(reader.read(wide)):
        parts += 1
        extents = items.setdefault(reader.read(wide), [])
        method = reader.read(2) & 15 if version else _IN_FILE
        reader.read(2)  # the data reference
        base = reader.read(base_size)
        parts += (count := reader.read(2))
        if parts > _MAX_PARTS:
            raise ImageTooLarge(_TOO_MANY)
        for _ in range(count):
            offset = base + reader.read(offset_size)
            extents.append(_Extent(method, offset, reader.read(length_size)))
    return items


class _Reader:
    """Whole numbers, one after the other."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position

    def read(self, size: int) -> int:
        """Return the number of the next `size` bytes; raises struct.error where there are none."""
        begin, self._position = self._position, self._position + size
        if self._position > len(self._data):
            raise struct.error
        return int.from_bytes(self._data[begin : self._position])


def _units(item: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind and beginning of the units of an AV1 stream, up to what is none: an item may be something else."""
    position = 0
    while position < len(item):
        head = item[position]
        position += 2 if head & 4 else 1
        end = len(item)
        if head & 2:
            size = 0
            for shift in range(0, 56, 7):
                if position >= len(item):
                    return
                byte = item[position]
                position += 1
                size |= (byte & 127) << shift
                if byte < 128:
                    break
            end = position + size
        if head & 128 or end > len(item):
            return
        yield head >> 3 & 15, item[position : min(end, position + 128)]
        position = end


def _frame_pixels(header: bytes) -> int:
    """Return how many pixels a frame may have under a sequence header (AV1 specification, 5.5)."""
    bits = int.from_bytes(header)
    left = 8 * len(header)

    def read(number: int) -> int:
        nonlocal left
        left -= number
        if left < 0:
            raise IndexError
        return bits >> left & (1 << number) - 1

    read(4)  # profile, still picture
    is_reduced = read(1)
    if is_reduced:
        read(5)  # level
    else:
        if read(1):
            raise InvalidImage("The image has the timing of a film.")
        has_delay = read(1)
        for _ in range(read(5) + 1):
            read(12)
            if read(5) > 7:
                read(1)  # tier
            if has_delay and read(1):
                read(4)
    width_bits, height_bits = read(4) + 1, read(4) + 1
    if is_reduced:
        return (read(width_bits) + 1) * (read(height_bits) + 1)
    return 1 << (width_bits + height_bits)  # a frame may have a size of its own
