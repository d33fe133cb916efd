"""Upright, first frame, within limits, exact unless asked otherwise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, features

from inference.errors import ImageTooLarge, InvalidImage, UnsupportedImage
from inference.image import decode
from inference.image.decode import DRAFT_MARGIN
from inference.image.resize import resize
from inference.image.scans import MAX_SCANS
from inference.settings import ImageSettings
from tests.unit.image.files import GREY, RGB_ALPHA, encode, png, png_chunk, png_header, tiff

LIMITS = ImageSettings()


def make_picture(width: int = 48, height: int = 32) -> NDArray[np.uint8]:
    """A picture that no turn or mirror maps to itself: red top left, green top right, blue bottom left."""
    picture = np.full((height, width, 3), 128, np.uint8)
    picture[: height // 2, : width // 3] = 255, 0, 0
    picture[: height // 2, -width // 3 :] = 0, 255, 0
    picture[height // 2 :, : width // 3] = 0, 0, 255
    return picture


#: EXIF orientation → how the upright picture is stored. By the words of EXIF 2.32: the 0th row of what is stored is the
#: visual top, top, bottom, bottom, left, right, right, left; its 0th column the visual left, right, right, left, top,
#: top, bottom, bottom.
STORED: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = orientation
    return made


def assert_shows(data: bytes, picture: NDArray[np.uint8], tolerance: int = 0) -> None:
    decoded = decode(data, LIMITS)
    assert decoded.rgb.dtype == np.uint8
    assert (decoded.height, decoded.width) == decoded.rgb.shape[:2] == picture.shape[:2]
    assert np.abs(decoded.rgb.astype(int) - picture).max() <= tolerance


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(
    ("format_", "options", "tolerance"),
    [
        ("JPEG", {"quality": 100, "subsampling": 0}, 6),
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        pytest.param(
            "AVIF",
            {"quality": 100, "subsampling": "4:4:4"},
            6,
            marks=pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF"),
        ),
    ],
)
def test_exif_orientation_is_undone(format_: str, options: dict[str, Any], tolerance: int, orientation: int) -> None:
    stored = np.ascontiguousarray(STORED[orientation](make_picture()))

    data = encode(stored, format_, exif=exif(orientation), **options)

    assert_shows(data, make_picture(), tolerance)


def test_a_png_that_tells_its_orientation_after_its_pixels_is_turned() -> None:
    upright = make_picture()
    data = encode(np.ascontiguousarray(STORED[6](upright)), "PNG")
    late = png_chunk(b"eXIf", exif(6).tobytes().removeprefix(b"Exif\0\0"))

    assert_shows(data[:-12] + late + data[-12:], upright)


def xmp(orientation: int) -> bytes:
    return b'<rdf:Description tiff:Orientation="%d"/>' % orientation


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_tiff_that_is_turned_by_xmp_alone_has_the_size_of_its_pixels(compression: str | None) -> None:
    stored = np.ascontiguousarray(STORED[6](make_picture()))

    assert_shows(encode(stored, "TIFF", tiffinfo={700: xmp(6)}, compression=compression), make_picture())


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_an_avif_is_turned_by_its_boxes_alone() -> None:
    options = {"quality": 100, "subsampling": "4:4:4", "xmp": xmp(6)}
    stored = np.ascontiguousarray(STORED[8](make_picture()))

    assert_shows(encode(make_picture(), "AVIF", **options), make_picture(), tolerance=6)
    assert_shows(encode(stored, "AVIF", exif=exif(8), **options), make_picture(), tolerance=6)


@pytest.mark.parametrize(
    "broken",
    [b"", b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\x09"],
    ids=["empty", "no directory", "directory past the end", "entries past the end"],
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_breaks_no_picture(broken: bytes) -> None:
    assert_shows(encode(make_picture(), "PNG", exif=broken), make_picture())


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation: int) -> None:
    assert_shows(encode(make_picture(), "PNG", exif=exif(orientation)), make_picture())
    assert_shows(tiff(2, 1, (8,), 1, b"\x00\xff", orientation=orientation), np.array([[[0] * 3, [255] * 3]], np.uint8))


def test_photos_taken_with_a_turned_camera_are_upright(assets: Path) -> None:
    straight = decode((assets / "images/Landscape_1.jpg").read_bytes(), LIMITS).rgb.astype(int)

    for orientation in (3, 6, 8):
        turned = decode((assets / f"images/Landscape_{orientation}.jpg").read_bytes(), LIMITS)

        assert (turned.width, turned.height, turned.format) == (1800, 1200, "JPEG")
        # The photos were compressed anew and have another number in their middle. Turned wrongly they are 70 apart.
        assert np.abs(turned.rgb - straight).mean() < 5


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_shown(format_: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if format_ == "WEBP" else {}

    data = encode(frames[0], format_, save_all=True, append_images=frames[1:], **options)

    assert_shows(data, np.asarray(frames[0]))


def test_of_a_photo_with_several_pictures_the_first_is_shown() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime")]

    data = encode(frames[0], "MPO", save_all=True, append_images=frames[1:])

    assert decode(data, LIMITS).format == "JPEG"
    assert_shows(data, np.asarray(frames[0]), tolerance=3)


def test_the_name_is_that_of_the_bytes() -> None:
    for format_ in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        assert decode(encode(make_picture(), format_), LIMITS).format == format_


def test_a_picture_at_the_limits_is_decoded_and_one_past_them_is_not() -> None:
    data = encode(np.zeros((20, 30, 3), np.uint8), "PNG")

    assert decode(data, ImageSettings(max_image_pixels=600, max_image_side=30)).width == 30
    with pytest.raises(ImageTooLarge, match="30 x 20"):
        decode(data, ImageSettings(max_image_pixels=599, max_image_side=30))
    with pytest.raises(ImageTooLarge, match="30 x 20"):
        decode(data, ImageSettings(max_image_pixels=600, max_image_side=29))


def test_limits_are_checked_before_any_pixel_is_loaded() -> None:
    header_alone = png_header(30_000, 30_000, 1, GREY) + png_chunk(b"IDAT", b"")

    with pytest.raises(ImageTooLarge, match="30000 x 30000"):
        decode(header_alone, LIMITS)
    with pytest.raises(InvalidImage):  # what loading it comes to
        decode(png_header(3, 3, 1, GREY) + png_chunk(b"IDAT", b""), LIMITS)


def test_a_small_file_of_many_pixels_is_refused() -> None:
    bomb = png(30_000, 1, GREY, [bytes(3750)] * 30_000)

    assert len(bomb) < 200_000
    with pytest.raises(ImageTooLarge, match="30000 x 30000"):
        decode(bomb, LIMITS)


def test_a_limit_above_that_of_pillow_counts() -> None:
    # Pillow's own guard ends at 179 million.
    header_alone = png_header(14_000, 13_000, 1, GREY) + png_chunk(b"IDAT", b"")

    with pytest.raises(InvalidImage):
        decode(header_alone, ImageSettings(max_image_pixels=200_000_000))


def test_a_picture_that_does_not_fit_into_memory_is_too_large() -> None:
    # One row is more than 4 GiB.
    header_alone = png_header(2_000_000_000, 1, 8, RGB_ALPHA) + png_chunk(b"IDAT", b"")

    with pytest.raises(ImageTooLarge, match="memory"):
        decode(header_alone, ImageSettings(max_image_pixels=2**62, max_image_side=2**31))


def make_scans(count: int) -> bytes:
    """A JPEG with so many scans: the last one, which refines the one before, repeated."""
    data = encode(make_picture(), "JPEG", progressive=True)
    body, last, _ = data.rpartition(b"\xff\xda")
    scan = last + data[len(body) + 2 : -2]
    return body + scan * (count - body.count(b"\xff\xda")) + b"\xff\xd9"


def test_a_jpeg_of_more_scans_than_any_encoder_writes_is_refused() -> None:
    assert decode(make_scans(MAX_SCANS), LIMITS).width == 48
    with pytest.raises(ImageTooLarge, match="scans"):
        decode(make_scans(MAX_SCANS + 1), LIMITS)


def test_what_looks_like_scans_in_a_profile_or_after_the_picture_is_none() -> None:
    data = encode(make_picture(), "JPEG")
    looks = b"\xff\xda\0\x0c" * (MAX_SCANS + 1)
    profile = b"\xff\xe2" + (len(looks) + 2).to_bytes(2) + looks

    assert_shows(data[:2] + profile + data[2:] + looks, decode(data, LIMITS).rgb)


@pytest.mark.parametrize("fill", [b"garbage", b"\xff\xff", b"\xff\x00", b"\xff\xd3"])
def test_what_libjpeg_skips_between_scans_hides_none(fill: bytes) -> None:
    with pytest.raises(ImageTooLarge, match="scans"):
        decode(make_scans(MAX_SCANS + 1).replace(b"\xff\xda", fill + b"\xff\xda"), LIMITS)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
@pytest.mark.filterwarnings("ignore:Truncated")
def test_a_truncated_picture_is_invalid(format_: str, kept: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    data = encode(noise, format_)

    with pytest.raises(InvalidImage):
        decode(data[: int(len(data) * kept)], LIMITS)


@pytest.mark.parametrize("data", [b"", b"not an image", b"\xff\xd8\xff" + bytes(100), b"BM" + bytes(100)])
def test_what_is_no_image_is_invalid(data: bytes) -> None:
    with pytest.raises(InvalidImage):
        decode(data, LIMITS)


def test_documents_are_never_rendered() -> None:
    with pytest.raises(UnsupportedImage, match="SVG"):
        decode(b"<svg/>" + b"<svg xmlns='http://www.w3.org/2000/svg'/>", LIMITS)
    with pytest.raises(UnsupportedImage, match="PostScript"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", LIMITS)


def test_a_codec_that_the_first_bytes_do_not_name_is_never_asked() -> None:
    photo_cd = bytearray(96 * 2048 + 768 * 512 * 3 // 2)  # Pillow knows a Photo CD by what stands at its offset 2048
    photo_cd[2048:2052] = b"PCD_"
    photo_cd[:4] = b"\xff\xd8\xff\x01"

    with pytest.raises(InvalidImage):
        decode(bytes(photo_cd), LIMITS)


def test_pixels_cannot_be_changed_by_accident() -> None:
    assert not decode(encode(make_picture(), "PNG"), LIMITS).rgb.flags.writeable


def make_smooth(width: int, height: int) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 255 // height, columns * 255 // width, (rows + columns) % 256], axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    ("target", "reduced_by"),
    [((400, 300), 1), ((200, 150), 2), ((101, 75), 2), ((100, 75), 4), ((100, 76), 2), ((50, 37), 8), ((1, 1), 8)],
)
def test_a_jpeg_is_decoded_smaller_as_long_as_the_margin_holds(target: tuple[int, int], reduced_by: int) -> None:
    decoded = decode(encode(make_smooth(803, 601), "JPEG"), LIMITS, target=target)

    assert decoded.reduced_by == reduced_by
    assert (decoded.width, decoded.height) == (803, 601)
    assert decoded.rgb.shape == (-(-601 // reduced_by), -(-803 // reduced_by), 3)
    if reduced_by > 1:
        assert decoded.rgb.shape[1] >= target[0] * DRAFT_MARGIN
        assert decoded.rgb.shape[0] >= target[1] * DRAFT_MARGIN


def test_the_target_is_meant_for_the_upright_picture() -> None:
    stored = np.ascontiguousarray(STORED[6](make_smooth(800, 100)))

    decoded = decode(encode(stored, "JPEG", exif=exif(6)), LIMITS, target=(100, 12))

    assert decoded.reduced_by == 4
    assert (decoded.width, decoded.height) == (800, 100)
    assert decoded.rgb.shape == (25, 200, 3)


@pytest.mark.parametrize("orientation", STORED)
def test_what_is_decoded_smaller_lies_where_its_origin_says(orientation: int) -> None:
    # Neither side is a multiple of 8: the last pixels of what is stored are parts of one.
    upright = np.full((603, 803, 3), 255, np.uint8)
    upright[96:-96, 96:-96] = 0
    stored = np.ascontiguousarray(STORED[orientation](upright))

    decoded = decode(encode(stored, "JPEG", exif=exif(orientation), quality=100), LIMITS, target=(50, 37))

    assert decoded.reduced_by == 8
    # By how bright an edge's pixel is, the square begins and ends 96 pixels from the image's edges.
    for line, length, begin in (
        (decoded.rgb[38], 803, decoded.origin[0]),
        (decoded.rgb[:, 50], 603, decoded.origin[1]),
    ):
        white = line[:, 0] / 255 * 8
        half = len(white) // 2
        assert begin + white[:half].sum() == pytest.approx(96, abs=0.5)
        assert begin + 8 * len(white) - white[half:].sum() == pytest.approx(length - 96, abs=0.5)


def test_only_a_jpeg_is_decoded_smaller() -> None:
    decoded = decode(encode(make_smooth(800, 600), "PNG"), LIMITS, target=(10, 10))

    assert decoded.reduced_by == 1
    assert decoded.rgb.shape == (600, 800, 3)


def test_a_photo_decoded_smaller_looks_the_same_at_its_target(assets: Path) -> None:
    data = (assets / "images/Landscape_6.jpg").read_bytes()
    target = (384, 256)

    exact, reduced = decode(data, LIMITS), decode(data, LIMITS, target=target)

    at_target = resize(exact.rgb, target, "bilinear").astype(int)
    assert reduced.reduced_by == 2
    assert np.abs(resize(reduced.rgb, target, "bilinear") - at_target).mean() < 1
