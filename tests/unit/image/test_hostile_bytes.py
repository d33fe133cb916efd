"""Whatever the bytes, the verdict is a picture within its limits or one of our own errors."""

from __future__ import annotations

import random
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.errors import ItemRejected
from inference.image import decode
from inference.settings import ImageSettings
from tests.unit.image.files import encode

LIMITS = ImageSettings(max_image_pixels=1_000_000, max_image_side=4096)
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]
MUTANTS = 120


def judge(data: bytes) -> str:
    """Decode; return "shown" or the code of the refusal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks about metadata, which would count as refusals here
        try:
            image = decode(data, LIMITS)
        except ItemRejected as exc:
            return exc.code
    assert image.rgb.shape == (image.height, image.width, 3)
    assert image.rgb.dtype == np.uint8
    assert image.width * image.height <= LIMITS.max_image_pixels
    return "shown"


def mutate(data: bytes, generator: random.Random) -> bytes:
    """Damage a file the way that networks and fuzzers do."""
    damaged = bytearray(data)
    for _ in range(generator.randint(1, 8)):
        at = generator.randrange(len(damaged))
        match generator.randrange(5):
            case 0:
                damaged[at] = generator.randrange(256)
            case 1:
                damaged[at] ^= 1 << generator.randrange(8)
            case 2:
                del damaged[at : at + generator.randint(1, 16)]
            case 3:
                damaged[at:at] = generator.randbytes(generator.randint(1, 16))
            case 4:
                del damaged[max(at, 4) :]
        damaged = damaged or bytearray(data)
    return bytes(damaged)


@pytest.mark.parametrize("format_", FORMATS)
def test_a_damaged_file_is_judged(format_: str) -> None:
    generator = random.Random(format_)
    picture = generator.randbytes(24 * 16 * 3)
    data = encode(np.frombuffer(picture, np.uint8).reshape(16, 24, 3), format_)

    verdicts = {judge(mutate(data, generator)) for _ in range(MUTANTS)}

    assert "image_invalid" in verdicts


@pytest.mark.parametrize(
    "name",
    ["hopper_gray.jpg", "pil_sample_cmyk.jpg", "flower.webp", "iss634.gif", "transparent.png", "tiff_16bit_RGB.tiff"],
)
def test_a_damaged_photo_is_judged(assets: Path, name: str) -> None:
    generator = random.Random(name)
    data = (assets / "images" / name).read_bytes()

    verdicts = {judge(mutate(data, generator)) for _ in range(25)}

    assert verdicts


@pytest.mark.parametrize("format_", FORMATS)
def test_every_truncation_of_a_file_is_judged(format_: str) -> None:
    data = encode(np.zeros((8, 8, 3), np.uint8), format_)

    verdicts = [judge(data[:length]) for length in range(len(data))]

    assert set(verdicts[: len(data) // 2]) == {"image_invalid"}


@given(st.binary(max_size=256))
@settings(max_examples=200)
def test_random_bytes_are_judged(data: bytes) -> None:
    judge(data)


@given(st.sampled_from([encode(np.zeros((2, 2, 3), np.uint8), name)[:12] for name in FORMATS]), st.binary(max_size=256))
@settings(max_examples=300)
def test_random_bytes_behind_a_true_header_are_judged(header: bytes, data: bytes) -> None:
    judge(header + data)
