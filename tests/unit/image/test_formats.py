"""Only the first bytes decide what a file is."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import features

from inference.errors import InvalidImage, UnsupportedImage
from inference.image import identify
from tests.unit.image.files import encode

PIXELS = np.zeros((4, 4, 3), np.uint8)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_supported_format_is_known_by_its_first_bytes(name: str) -> None:
    assert identify(encode(PIXELS, name)) == name


def test_big_tiff_is_tiff() -> None:
    assert identify(encode(PIXELS, "TIFF", big_tiff=True)) == "TIFF"
    with pytest.raises(UnsupportedImage, match="big-endian"):
        identify(b"MM\x00\x2b")


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_is_known_where_pillow_reads_it() -> None:
    assert identify(encode(PIXELS, "AVIF")) == "AVIF"


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"%PDF-1.7\n", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b'\xef\xbb\xbf <?xml version="1.0"?>\n<!-- x -->\n<svg>', "SVG"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "HEIC"),
        (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1heic", "HEIC"),
        (b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2", "MP4"),
        (b"\x00\x00\x01\x00\x01\x00\x10\x10", "ICO"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        (b"8BPS\x00\x01", "Photoshop"),
        (b"P6\n4 4\n255\n", "PNM"),
    ],
)
def test_another_image_format_is_refused_by_name(data: bytes, name: str) -> None:
    with pytest.raises(UnsupportedImage, match=f"^{name} is not a format"):
        identify(data + bytes(64))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"hello",
        b"<html><body>404 Not Found</body></html>",
        b'{"error": "not found"}',
        b"\xff\xd8",
        b"\x89PNG\r\n",
        b"RIFF\x00\x00\x00\x00WAVE",
        b"Paris",
        b"PK\x03\x04",
        b" " * 2000 + b"<svg>",
    ],
)
def test_what_is_no_image_is_invalid(data: bytes) -> None:
    with pytest.raises(InvalidImage):
        identify(data)


def test_a_page_that_shows_an_svg_far_below_is_no_svg() -> None:
    with pytest.raises(InvalidImage):
        identify(b"<html>" + b" " * 1024 + b"<svg>")
