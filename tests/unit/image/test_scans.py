"""Which JPEGs have more scans than are decoded: told from the head where it can be, else by walking all of it."""

from __future__ import annotations

import numpy as np
import pytest

from inference.errors import ImageTooLarge, InvalidImage
from inference.image import decode
from inference.image.scans import MAX_SCANS, check_scans
from inference.settings import ImageSettings
from tests.unit.image.files import encode

BASELINE, EXTENDED, PROGRESSIVE, ARITHMETIC = 0xC0, 0xC1, 0xC2, 0xC9


def head(frame: int, components: int) -> bytes:
    """Return the beginning of a JPEG up to its first scan."""
    body = bytes([8, 0, 16, 0, 16, components]) + bytes(3 * components)
    return b"\xff\xd8" + bytes([0xFF, frame]) + (len(body) + 2).to_bytes(2) + body


def scan(components: int) -> bytes:
    """Return a scan of so many components, with a marker-like pair of bytes in its data."""
    body = bytes([components]) + bytes(2 * components + 3)
    return b"\xff\xda" + (len(body) + 2).to_bytes(2) + body + b"data\xff\x00\xff\xd0data"


@pytest.mark.parametrize(
    ("frame", "components", "in_first"),
    [(BASELINE, 3, 3), (EXTENDED, 1, 1), (BASELINE, 4, 4)],
)
def test_a_sequential_picture_whose_first_scan_is_whole_has_no_other(
    frame: int, components: int, in_first: int
) -> None:
    check_scans(head(frame, components) + scan(in_first) + scan(components) * 5000)


@pytest.mark.parametrize(
    ("frame", "components", "in_first"),
    [(BASELINE, 3, 1), (PROGRESSIVE, 3, 3), (PROGRESSIVE, 1, 1), (ARITHMETIC, 3, 3)],
)
def test_the_scans_of_every_other_picture_are_counted(frame: int, components: int, in_first: int) -> None:
    check_scans(head(frame, components) + scan(in_first) + scan(1) * (MAX_SCANS - 1))
    with pytest.raises(ImageTooLarge, match="scans"):
        check_scans(head(frame, components) + scan(in_first) + scan(1) * MAX_SCANS)


@pytest.mark.parametrize("end", [b"\x00", b"\xda"])
def test_a_long_run_of_fill_bytes_takes_no_longer_than_its_length(end: bytes) -> None:
    """It would take hours if the search began anew at each byte of the run."""
    check_scans(head(BASELINE, 3) + b"\xff" * 1_000_000 + end + scan(3))


@pytest.mark.parametrize("cut", range(0, 60, 3))
def test_a_head_that_breaks_off_is_not_judged(cut: int) -> None:
    check_scans((head(BASELINE, 3) + scan(3))[:cut])


def test_the_decoder_reads_no_second_scan_either() -> None:
    """What the shortcut rests on: libjpeg takes another scan after a whole one for an error."""
    one = encode(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8), "JPEG")
    longer = one[:-2] + one[one.index(b"\xff\xda") : -2] * 200 + b"\xff\xd9"

    check_scans(longer)
    with pytest.raises(InvalidImage):
        decode(longer, ImageSettings())
