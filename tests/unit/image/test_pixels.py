"""Every kind of pixel comes out as the RGB that a viewer shows on white paper."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from inference.errors import UnsupportedImage
from inference.image import decode
from inference.settings import ImageSettings
from tests.unit.image.files import (
    GREY,
    GREY_ALPHA,
    PALETTE,
    RGB,
    RGB_ALPHA,
    bmp_with_alpha,
    encode,
    gif,
    png,
    png_chunk,
    tiff,
    tiff_in_big_endian,
)

WHITE, BLACK, RED = [255, 255, 255], [0, 0, 0], [255, 0, 0]


def pixels(data: bytes) -> list[list[int]]:
    """Decode a picture of one row to its pixels."""
    rgb = decode(data, ImageSettings()).rgb
    assert rgb.shape[0] == 1
    row: list[list[int]] = rgb[0].tolist()
    return row


def pixel(data: bytes) -> NDArray[np.int64]:
    """Decode a picture of one colour to that colour."""
    rgb = decode(data, ImageSettings()).rgb.reshape(-1, 3).astype(int)
    assert (np.ptp(rgb, axis=0) <= 2).all()
    return np.asarray(rgb[0])


def grey(*values: int) -> list[list[int]]:
    return [[value] * 3 for value in values]


def test_rgb_is_kept_to_the_bit() -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (7, 5, 3), np.uint8)

    for format_ in ("PNG", "BMP", "TIFF"):
        np.testing.assert_array_equal(decode(encode(rgb, format_), ImageSettings()).rgb, rgb)
    np.testing.assert_array_equal(decode(encode(rgb, "WEBP", lossless=True), ImageSettings()).rgb, rgb)


@pytest.mark.parametrize(
    ("depth", "row", "values"),
    [
        (1, b"\x80", (255, 0)),
        (2, b"\x1b", (0, 85, 170, 255)),
        (4, b"\x0f", (0, 255)),
        (8, b"\x00\x7f\xff", (0, 127, 255)),
        (16, b"\x00\x00\x7f\xff\x80\x00\xff\xff", (0, 127, 128, 255)),
    ],
)
def test_grey_of_any_depth_spans_black_to_white(depth: int, row: bytes, values: tuple[int, ...]) -> None:
    assert pixels(png(len(values), depth, GREY, [row])) == grey(*values)


def test_a_ramp_of_16_bits_is_scaled_and_not_saturated() -> None:
    ramp = np.linspace(0, 65535, 4096).astype(np.uint16)[None]
    expected = np.repeat((ramp >> 8).astype(np.uint8)[..., None], 3, axis=2)

    for data in (encode(ramp, "PNG"), encode(ramp, "TIFF"), encode(ramp, "TIFF", compression="tiff_lzw")):
        np.testing.assert_array_equal(decode(data, ImageSettings()).rgb, expected)


def test_a_big_endian_tiff_of_16_bits_is_read_the_same() -> None:
    assert pixels(encode(Image.new("I;16B", (1, 1), 0x8001), "TIFF")) == grey(128)


def test_a_tiff_of_12_bits_spans_black_to_white() -> None:
    assert pixels(tiff(2, 1, (12,), 1, b"\x00\x0f\xff")) == grey(0, 255)


def test_a_tiff_in_which_zero_is_white_is_inverted() -> None:
    assert pixels(tiff(3, 1, (16,), 0, struct.pack("<3H", 0, 0x8000, 0xFFFF))) == grey(255, 127, 0)
    assert pixels(tiff(3, 1, (8,), 0, b"\x00\x80\xff")) == grey(255, 127, 0)


@pytest.mark.parametrize(
    ("colour", "samples", "expected"),
    [
        (RGB, (0x80FF, 0x0100, 0xFFFF), [128, 1, 255]),
        (RGB_ALPHA, (0x80FF, 0x0100, 0xFFFF, 0xFFFF), [128, 1, 255]),
        (RGB_ALPHA, (0x80FF, 0x0100, 0xFFFF, 0), WHITE),
        (GREY_ALPHA, (0x80FF, 0xFFFF), [128, 128, 128]),
        (GREY_ALPHA, (0x80FF, 0), WHITE),
    ],
)
def test_colour_of_16_bits_keeps_its_high_byte(colour: int, samples: tuple[int, ...], expected: list[int]) -> None:
    assert pixels(png(1, 16, colour, [struct.pack(f">{len(samples)}H", *samples)])) == [expected]


def test_a_tiff_of_16_bits_a_channel_keeps_the_high_byte() -> None:
    data = struct.pack("<6H", 0x80FF, 0x0100, 0xFFFF, 0, 0x7FFF, 0xFF00)

    assert pixels(tiff(2, 1, (16, 16, 16), 2, data)) == [[128, 1, 255], [0, 127, 255]]


def test_integers_of_a_wide_tiff_are_read_as_16_bits_or_refused() -> None:
    assert pixels(encode(np.array([[0, 0x8000, 0xFFFF]], np.int32), "TIFF")) == grey(0, 128, 255)
    for value in (-1, 0x10000):
        with pytest.raises(UnsupportedImage, match="16 bits"):
            pixels(encode(np.array([[0, value]], np.int32), "TIFF"))


def test_floats_are_brightness_from_0_to_1_or_refused() -> None:
    assert pixels(encode(np.array([[0, 0.5, 1]], np.float32), "TIFF")) == grey(0, 128, 255)
    for value in (-0.1, 1.5, float("nan"), float("inf")):
        with pytest.raises(UnsupportedImage, match="0 to 1"):
            pixels(encode(np.array([[0, value]], np.float32), "TIFF"))


def test_compressed_numbers_of_a_big_endian_tiff_are_swapped_once() -> None:
    assert pixels(tiff_in_big_endian(struct.pack(">3f", 0, 0.5, 1), 32, 3)) == grey(0, 128, 255)
    assert pixels(tiff_in_big_endian(struct.pack(">2h", 0, 0x7F01), 16, 2)) == grey(0, 127)
    assert pixels(tiff_in_big_endian(struct.pack(">2i", 0x8000, 0xFFFF), 32, 2)) == grey(128, 255)


@pytest.mark.parametrize(
    ("bits", "photometric", "tags"),
    [
        ((16, 16, 16), 2, {}),
        ((16, 16, 16, 16), 5, {}),
        ((8,), 0, {}),
        ((8,), 1, {"fill_order": 2}),
        ((4,), 1, {}),
        ((1,), 0, {}),
    ],
)
def test_planes_that_pillow_would_misread_are_refused(
    bits: tuple[int, ...], photometric: int, tags: dict[str, int]
) -> None:
    with pytest.raises(UnsupportedImage, match="planes"):
        pixels(tiff(1, 1, bits, photometric, bytes(8), planar=2, **tags))


def test_plain_planes_are_read() -> None:
    assert pixels(tiff(3, 1, (8,), 1, b"\x00\x80\xff", planar=2)) == grey(0, 128, 255)
    assert pixels(tiff(2, 1, (1,), 1, b"\x40", planar=2)) == grey(0, 255)


def test_subsampled_colour_that_pillow_would_misread_is_refused() -> None:
    with pytest.raises(UnsupportedImage, match="subsampled"):
        pixels(tiff(2, 2, (8, 8, 8), 6, bytes(6)))
    assert pixels(encode(Image.new("YCbCr", (1, 1), (128, 128, 128)), "TIFF")) == grey(128)


def test_a_colour_space_without_a_way_to_rgb_is_refused() -> None:
    with pytest.raises(UnsupportedImage, match="LAB"):
        pixels(encode(Image.new("LAB", (1, 1)), "TIFF"))


def test_a_palette_is_looked_up() -> None:
    palette = png_chunk(b"PLTE", bytes([*RED, 0, 255, 0]))

    assert pixels(png(2, 1, PALETTE, [b"\x40"], palette)) == [RED, [0, 255, 0]]


def test_a_palette_of_a_tiff_may_have_8_bits_in_place_of_16() -> None:
    image = Image.new("P", (1, 1), 1)
    image.putpalette([*BLACK, 255, 128, 7] + [*BLACK] * 254)
    data = encode(image, "TIFF")
    reds, greens, blues = (struct.pack("<256H", 0, value, *[0] * 254) for value in (0xFF00, 0x8000, 0x0700))
    assert reds + greens + blues in data

    of_8_bits = data.replace(reds + greens + blues, b"".join(each[1:] + b"\0" for each in (reds, greens, blues)))

    assert pixels(data) == pixels(of_8_bits) == [[255, 128, 7]]


@pytest.mark.parametrize("format_", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_composited_on_white(format_: str) -> None:
    rgba = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [255, 0, 0, 128], [10, 20, 30, 51]]], np.uint8)
    options = {"lossless": True, "exact": True} if format_ == "WEBP" else {}

    shown = np.array(pixels(encode(rgba, format_, **options)))

    expected = [RED, WHITE, [255, 127, 127], [206, 208, 210]]
    assert np.abs(shown - expected).max() <= 1


def test_the_hidden_colour_of_a_transparent_pixel_does_not_show() -> None:
    assert pixels(encode(Image.new("LA", (1, 1), (0, 0)), "PNG")) == [WHITE]
    assert pixels(encode(Image.new("PA", (1, 1), (0, 0)), "TIFF")) == [WHITE]


@pytest.mark.parametrize(
    ("depth", "colour", "row", "chunks", "expected"),
    [
        (8, PALETTE, b"\x00\x01", [png_chunk(b"PLTE", bytes([*RED] * 2)), png_chunk(b"tRNS", b"\x00")], [WHITE, RED]),
        (
            8,
            PALETTE,
            b"\x00\x01",
            [png_chunk(b"PLTE", bytes([*RED] * 2)), png_chunk(b"tRNS", b"\xff\x80")],
            [RED, [255, 127, 127]],
        ),
        (8, RGB, b"\xff\x00\x00\xff\x00\x01", [png_chunk(b"tRNS", b"\0\xff\0\0\0\0")], [WHITE, [255, 0, 1]]),
        (8, GREY, b"\x00\x01", [png_chunk(b"tRNS", b"\0\0")], [WHITE, [1, 1, 1]]),
        (1, GREY, b"\x40", [png_chunk(b"tRNS", b"\0\0")], [WHITE, WHITE]),
        (2, GREY, b"\x60", [png_chunk(b"tRNS", b"\0\1")], [WHITE, [170] * 3]),
        (4, GREY, b"\x56", [png_chunk(b"tRNS", b"\0\5")], [WHITE, [102] * 3]),
        (16, GREY, b"\x12\x34\x12\x35", [png_chunk(b"tRNS", b"\x12\x34")], [WHITE, [0x12] * 3]),
        (16, RGB, b"\0\1" * 3 + b"\x55\0" * 3, [png_chunk(b"tRNS", b"\0\1" * 3)], [WHITE, [0x55] * 3]),
    ],
    ids=["palette", "palette half", "rgb", "grey", "grey1", "grey2", "grey4", "grey16", "rgb16"],
)
def test_the_transparent_colour_of_a_png_is_white(
    depth: int, colour: int, row: bytes, chunks: list[bytes], expected: list[list[int]]
) -> None:
    shown = np.array(pixels(png(2, depth, colour, [row], *chunks)))

    assert np.abs(shown - expected).max() <= 1


def test_the_transparent_colour_of_a_gif_is_white() -> None:
    image = Image.new("P", (2, 1), 1)
    image.putpalette([0, 0, 0, *RED])
    image.putpixel((0, 0), 0)

    assert pixels(encode(image, "GIF", transparency=0)) == [WHITE, RED]


def test_the_alpha_of_a_bmp_counts_where_it_is_used() -> None:
    assert pixels(bmp_with_alpha((255, 0, 0, 0), (10, 20, 30, 0))) == [RED, [10, 20, 30]]
    assert pixels(bmp_with_alpha((255, 0, 0, 255), (10, 20, 30, 0))) == [RED, WHITE]


def test_what_a_gif_does_not_draw_is_white() -> None:
    data = gif((4, 3), (1, 1, 2, 1), [1, 2], [*BLACK, *RED, 0, 255, 0, *BLACK])

    rgb = decode(data, ImageSettings()).rgb.tolist()

    assert rgb == [[WHITE] * 4, [WHITE, RED, [0, 255, 0], WHITE], [WHITE] * 4]


@pytest.mark.parametrize(
    ("ink", "shown"),
    [
        ((0, 0, 0, 0), WHITE),
        ((0, 0, 0, 255), BLACK),
        ((0, 255, 255, 0), RED),
        ((255, 0, 0, 0), [0, 255, 255]),
        ((0, 255, 255, 128), [127, 0, 0]),
    ],
)
@pytest.mark.parametrize("format_", ["JPEG", "TIFF"])
def test_ink_comes_out_as_light(ink: tuple[int, int, int, int], shown: list[int], format_: str) -> None:
    options = {"quality": 100} if format_ == "JPEG" else {}

    assert np.abs(pixel(encode(Image.new("CMYK", (16, 16), ink), format_, **options)) - shown).max() <= 3


def test_an_adobe_jpeg_in_ycck_comes_out_as_light(assets: Path) -> None:
    rgb = decode((assets / "images/pil_sample_cmyk.jpg").read_bytes(), ImageSettings()).rgb

    assert np.abs(rgb[2, 5].astype(int) - [255, 13, 25]).max() <= 5  # the red bar in its corner
    assert rgb[90:].max() <= 10  # rich black below


def test_a_grey_jpeg_has_three_equal_channels(assets: Path) -> None:
    rgb = decode((assets / "images/hopper_gray.jpg").read_bytes(), ImageSettings()).rgb

    assert rgb.shape == (128, 128, 3)
    assert (rgb == rgb[..., :1]).all()
    assert np.ptp(rgb) > 200


def test_a_cut_out_stands_on_white(assets: Path) -> None:
    rgb = decode((assets / "images/kitten_224.png").read_bytes(), ImageSettings()).rgb

    assert (rgb[0] == 255).all()
    assert rgb[112, 112].max() < 255


def test_a_photograph_of_16_bits_a_channel_keeps_its_shades(assets: Path) -> None:
    rgb = decode((assets / "images/tiff_16bit_RGB.tiff").read_bytes(), ImageSettings()).rgb

    assert rgb.shape == (40, 100, 3)
    assert 25 < rgb.mean() < 36
    assert len(np.unique(rgb)) > 60
