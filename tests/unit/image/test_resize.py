"""Resizing: the fast way beside Pillow's own, over sizes, windows and shapes that pictures come in."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from inference.image.resize import Interpolation, resize

#: What docs/reference/performance.md says of pixels. Bicubic weights are negative at the edges, and errors add up.
LEVELS = {"bilinear": 1, "bicubic": 2}
SHARE = 0.01
#: The same of sizes in a ratio of small numbers, at which many values lie midway between two levels.
MIDWAY_LEVELS, MIDWAY_SHARE = 2, 0.1


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth, as photos are, with some noise, and with edges from black to white, at which bicubic overshoots."""
    source = np.random.default_rng(seed)
    coarse = Image.fromarray(source.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    noisy = np.clip(smooth + source.integers(-9, 10, smooth.shape), 0, 255).astype(np.uint8)
    noisy[height // 3 : height // 2, width // 3 : width // 2] = source.choice([0, 255])
    return Image.fromarray(noisy)


def plain(image: Image.Image, size: tuple[int, int], interpolation: str, window: tuple[int, ...]) -> NDArray[Any]:
    left, top, right, bottom = window
    return np.asarray(image.resize(size, Image.Resampling[interpolation.upper()]))[top:bottom, left:right]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("seed", range(40))
def test_fast_pixels_are_pillows_but_for_a_level_in_a_few(interpolation: Interpolation, seed: int) -> None:
    source = random.Random(seed)
    image = picture(source.randint(64, 900), source.randint(64, 900), seed)
    size = source.randint(40, 500), source.randint(40, 500)
    left, top = source.randint(0, size[0] // 3), source.randint(0, size[1] // 3)
    window = left, top, source.randint(left + size[0] // 2, size[0]), source.randint(top + size[1] // 2, size[1])

    for part in (window, (0, 0, *size)):
        expected = plain(image, size, interpolation, part)
        pixels = resize(image, size, interpolation, part)

        assert pixels.shape == expected.shape
        difference = np.abs(pixels.astype(int) - expected)
        assert difference.max() <= LEVELS[interpolation]
        assert (difference > 0).mean() <= SHARE
        assert np.array_equal(resize(image, size, interpolation, part, exact=True), expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("source", "size"),
    [((800, 600), (640, 480)), ((1920, 1080), (320, 320)), ((280, 280), (224, 224)), ((150, 88), (120, 154))],
)
def test_at_sizes_in_simple_ratios_more_values_differ_but_no_further(
    interpolation: Interpolation, source: tuple[int, int], size: tuple[int, int]
) -> None:
    image = picture(*source)

    difference = np.abs(
        resize(image, size, interpolation).astype(int) - plain(image, size, interpolation, (0, 0, *size))
    )

    assert difference.max() <= MIDWAY_LEVELS
    assert (difference > 0).mean() <= MIDWAY_SHARE


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("source", [(1, 1), (2, 3), (1, 3000), (3000, 1), (16, 3000), (3000, 16), (401, 400)])
@pytest.mark.parametrize("size", [(1, 1), (7, 3), (224, 224), (401, 224), (224, 400)])
def test_pictures_of_any_shape_come_to_any_size(
    interpolation: Interpolation, source: tuple[int, int], size: tuple[int, int]
) -> None:
    image = picture(*source)
    pixels = resize(image, size, interpolation).astype(int)

    assert np.abs(pixels - plain(image, size, interpolation, (0, 0, *size))).max() <= LEVELS[interpolation]


def test_picture_of_the_size_is_not_touched() -> None:
    image = picture(30, 20)

    assert np.array_equal(resize(image, (30, 20), "bilinear"), np.asarray(image))
    assert np.array_equal(resize(image, (30, 20), "bilinear", (3, 4, 20, 10)), np.asarray(image)[4:10, 3:20])


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("exact", [True, False])
def test_of_a_very_long_picture_only_the_window_is_made(interpolation: Interpolation, exact: bool) -> None:
    # Resized whole it would have 256 x 4 194 304 pixels; of them the window shows less than one of the picture's.
    wide = (np.arange(16_384) % 256).astype(np.uint8).repeat(3).reshape(1, -1, 3)
    left = 256 * 8200

    pixels = resize(wide, (256 * 16_384, 256), interpolation, (left, 16, left + 224, 240), exact=exact)

    assert pixels.shape == (224, 224, 3)
    assert {*np.unique(pixels)} <= {7, 8, 9}  # the picture's column 8200 has the value 8
    assert (pixels == pixels[0]).all()


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("source", "size"), [((280, 367), (83, 109)), ((500, 375), (683, 512)), ((1000, 90), (2844, 256))]
)
def test_a_small_window_of_a_photo_is_exact_too(
    interpolation: Interpolation, source: tuple[int, int], size: tuple[int, int]
) -> None:
    image = picture(*source)
    left, top = (size[0] - 32) // 2, (size[1] - 32) // 2
    window = left, top, left + 32, top + 32

    expected = plain(image, size, interpolation, window)

    assert np.array_equal(resize(image, size, interpolation, window, exact=True), expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_part_is_resized_in_the_order_of_the_whole(interpolation: Interpolation) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (1993, 8, 3), np.uint8)
    size = 180, 44_842  # sideways first; were the window all that there is, its rows would be
    window = 0, 22_319, 180, 22_523

    expected = plain(Image.fromarray(noise), size, interpolation, window)

    difference = np.abs(resize(noise, size, interpolation, window, exact=True).astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() <= SHARE


def test_threads_resize_at_once() -> None:
    pictures = [picture(300 + 7 * n, 200, n) for n in range(8)]
    expected = [resize(each, (224, 224), "bilinear") for each in pictures]

    def work(n: int) -> bool:
        return all(np.array_equal(resize(pictures[n], (224, 224), "bilinear"), expected[n]) for _ in range(50))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_where_there_is_no_fast_resizer_pillow_resizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.image.resize.cykooz_resizer", None)
    image, window = picture(500, 375), (58, 16, 282, 240)

    assert np.array_equal(resize(image, (341, 256), "bilinear", window), plain(image, (341, 256), "bilinear", window))
