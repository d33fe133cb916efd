"""Counts the scans of a JPEG, each of which costs a pass over all of its pixels, however few bytes it has.

It refuses to judge any other part of the file: libjpeg does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from inference.errors import ImageTooLarge

#: Encoders write ten or so. Of 3,000 scans, 61 bytes each, an image within every other limit took minutes to decode.
MAX_SCANS: Final = 100

#: The next marker as libjpeg finds it, between segments and after the data of a scan, where 0xFF is followed by a zero.
#: Of several 0xFF the last one is looked at; a pattern that began with the first would take quadratic time for a run.
_MARKER: Final = re.compile(rb"\xff([^\x00\xff])")
_START_OF_SCAN: Final = 0xDA
_END_OF_IMAGE: Final = 0xD9
#: Baseline and extended: what is neither progressive nor lossless.
_SEQUENTIAL_FRAMES: Final = frozenset({0xC0, 0xC1})
#: TEM, RST0 … RST7 and SOI: no length follows.
_BARE: Final = frozenset({0x01, *range(0xD0, 0xD9)})


def check_scans(data: bytes) -> None:
    """Raise ImageTooLarge for a JPEG of more than MAX_SCANS scans."""
    if _has_one_scan(data) or data.count(bytes((0xFF, _START_OF_SCAN))) <= MAX_SCANS:
        return  # in nearly every file; in others these bytes may be part of a profile, or of a film after the picture
    scans = 0
    for marker, _ in _segments(data):
        scans += marker == _START_OF_SCAN
        if scans > MAX_SCANS:
            raise ImageTooLarge(f"The image has more than {MAX_SCANS} scans.")


def _has_one_scan(data: bytes) -> bool:
    """Tell from the head alone: after a scan of every component of a sequential frame libjpeg reads no other.

    It is `initial_setup` of libjpeg's jdinput.c that decides so (`has_multiple_scans`).
    """
    components = b""
    for marker, start in _segments(data):
        if marker in _SEQUENTIAL_FRAMES:
            components = data[start + 7 : start + 8]
        elif marker == _START_OF_SCAN:
            return bool(components) and data[start + 2 : start + 3] == components
    return False


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the markers up to the end of the image, each with where what belongs to it begins."""
    position = 0
    while match := _MARKER.search(data, position):
        position = match.end()
        marker = match[1][0]
        if marker == _END_OF_IMAGE:
            return
        yield marker, position
        if marker not in _BARE:
            position += int.from_bytes(data[position : position + 2])
