"""What a decoder says of a broken image is nobody's to read: one image could write thousands of lines into the log."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from tests.unit.image.files import encode, tiff

SCRIPT = """
import sys
from collections.abc import Callable
from inference.image import decode
from inference.settings import ImageSettings
print(decode(sys.stdin.buffer.read(), ImageSettings()).width)
"""


def broken_exif() -> bytes:
    entries = b"".join(struct.pack("<HHII", 1000 + number, 7, 99, 8) for number in range(1000))
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries) // 12) + entries + bytes(4)
    return encode(np.full((8, 8, 3), 128, np.uint8), "JPEG", exif=exif)


def broken_fax() -> bytes:
    rows = random.Random(1).randbytes(10_000)
    raw, fax = struct.pack("<HHII", 259, 3, 1, 1), struct.pack("<HHII", 259, 3, 1, 2)
    data = tiff(8, 200, (1,), 1, rows)
    assert data.count(raw) == 1
    return data.replace(raw, fax)


@pytest.mark.parametrize("make", [broken_exif, broken_fax])
def test_a_broken_image_writes_nothing_into_the_log(make: Callable[[], bytes]) -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], input=make(), capture_output=True, check=True)

    assert (run.stdout.strip(), run.stderr) == (b"8", b"")
