"""The scanned digits that scikit-learn carries, as greyscale images, and their split into training and held-out scans.

It refuses to know of a network: `samples.train_digits` trains one on what this gives.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from inference.image import decode
from inference.settings import ImageSettings

SPLIT_SEED = 20
HELD_OUT_SHARE = 0.2

#: The data set counts ink from 0 to 16 in each of 8 x 8 cells; on the image it is black ink on white paper.
_FULL_INK = 16
SCAN_PIXELS = 96
_JPEG_QUALITY = 90


@dataclass(frozen=True, slots=True)
class Scans:
    """Scans as files of one image each, and the digits that they show."""

    files: list[bytes]
    labels: NDArray[np.int64]


def load_scans(image_format: str) -> tuple[Scans, Scans]:
    """Return the training and the held-out scans, encoded as `PNG` or `JPEG` files.

    The data set: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository
    (1998), https://doi.org/10.24432/C50P49, CC BY 4.0; 1797 scans, the test part of the original.
    """
    digits = load_digits()
    training, held_out = train_test_split(
        np.arange(len(digits.target)), test_size=HELD_OUT_SHARE, stratify=digits.target, random_state=SPLIT_SEED
    )

    def scans(part: NDArray[np.int64]) -> Scans:
        return Scans([encode_scan(digits.images[index], image_format) for index in part], digits.target[part])

    return scans(training), scans(held_out)


def encode_scan(ink: NDArray[np.float64], image_format: str) -> bytes:
    """Return an 8 x 8 scan as an image file of a size that a person can look at."""
    grey = np.rint(255 - ink * (255 / _FULL_INK)).astype(np.uint8)
    image = Image.fromarray(grey).resize((SCAN_PIXELS, SCAN_PIXELS), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    options = {"quality": _JPEG_QUALITY} if image_format == "JPEG" else {"optimize": True}
    image.save(file, image_format, **options)
    return file.getvalue()


def decode_scan(file: bytes) -> NDArray[np.uint8]:
    """Return the pixels of a scan as the service sees them: height x width x 3."""
    return decode(file, ImageSettings()).rgb
