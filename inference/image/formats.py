"""Which format encoded bytes have, told by their first bytes.

It refuses to believe a media type, a file name or anything past the header: only the bytes decide.
"""

from __future__ import annotations

import re
from functools import cache

from PIL import features

from inference.errors import InvalidImage, UnsupportedImage

#: First bytes → the format, named as Pillow names it and as replies show it.
_SUPPORTED = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",  # BigTIFF
}

#: First bytes → what to call a format that is recognised and refused: never rendered, never handed to a codec.
_REFUSED = {
    b"%PDF": "PDF",
    b"%!PS": "PostScript",
    b"\xc5\xd0\xd3\xc6": "EPS",
    b"8BPS": "Photoshop",
    b"\x00\x00\x01\x00": "ICO",
    b"\x00\x00\x02\x00": "CUR",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"II\xbc\x01": "JPEG XR",
    b"MM\x00+": "BigTIFF in big-endian order",  # Pillow reads it as an ordinary TIFF, and libtiff then as what it is
    b"qoif": "QOI",
    b"DDS ": "DDS",
    b"v/1\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"gimp xcf": "XCF",
    b"SIMPLE  =": "FITS",
    b"\xd7\xcd\xc6\x9a": "WMF",
    b"\x01\x00\x00\x00": "EMF",
    b"AT&TFORM": "DjVu",
    b"\x1aE\xdf\xa3": "Matroska video",
}

#: Portable anymaps: `P1` … `P7`, then white space.
_ANYMAP = re.compile(rb"P[1-7]\s")
_SVG = re.compile(rb"<svg[\s>]", re.IGNORECASE)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})

_SNIFFED_BYTES = 1024


def identify(data: bytes) -> str:
    """Return the format of encoded bytes: JPEG, PNG, WEBP, GIF, BMP, TIFF, or AVIF where Pillow has it built in.

    Raises UnsupportedImage for other image formats and InvalidImage for what is no image at all.
    """
    if not data:
        raise InvalidImage("The image is empty.")
    head = data[:_SNIFFED_BYTES]
    for magic, name in _SUPPORTED.items():
        if head.startswith(magic):
            return name
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    refused = _name_container(head)
    if refused == "AVIF" and _has_avif():
        return "AVIF"
    refused = refused or _name_refused(head)
    if refused:
        raise UnsupportedImage(f"{refused} is not a format that this service reads.")
    raise InvalidImage("The bytes are not an image.")


def _name_container(head: bytes) -> str | None:
    """Name what an ISO base media file (`ftyp` box) holds, by all the brands that it claims."""
    if head[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(head[:4]), len(head))
    brands = {head[8:12], *(head[start : start + 4] for start in range(16, end, 4))}
    if brands & _AVIF_BRANDS:
        return "AVIF"
    return "HEIC" if brands & _HEIF_BRANDS else "MP4"


def _name_refused(head: bytes) -> str | None:
    for magic, name in _REFUSED.items():
        if head.startswith(magic):
            return name
    if _ANYMAP.match(head):
        return "PNM"
    is_markup = head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")
    return "SVG" if is_markup and _SVG.search(head) else None


@cache
def _has_avif() -> bool:
    return bool(features.check("avif"))
