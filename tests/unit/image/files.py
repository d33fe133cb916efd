"""Image files made by hand, for what Pillow cannot write: bit depths, transparent colours, odd TIFF tags."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from numpy.typing import NDArray
from PIL import Image

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6

_TIFF_TAGS = {"compression": 259, "fill_order": 266, "orientation": 274, "planar": 284, "sample_format": 339}


def encode(pixels: NDArray[Any] | Image.Image, format_: str, **options: Any) -> bytes:
    """Return the file that Pillow makes of these pixels."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG, with its right checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int, depth: int, colour: int) -> bytes:
    """Return the signature and first chunk of a PNG."""
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))


def png(width: int, depth: int, colour: int, rows: list[bytes], *chunks: bytes) -> bytes:
    """Return a PNG of packed rows, with further chunks before its pixels."""
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    header = png_header(width, len(rows), depth, colour)
    return header + b"".join(chunks) + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")


def tiff(width: int, height: int, bits: tuple[int, ...], photometric: int, data: bytes, **tags: int) -> bytes:
    """Return a TIFF of one strip, little-endian and uncompressed; `tags` are others that hold one number, by name."""
    extra = b"".join(struct.pack("<H", value) for value in bits)
    entries = {
        256: (4, 1, width),
        257: (4, 1, height),
        258: (3, len(bits), 8 if len(bits) > 2 else int.from_bytes(extra, "little")),
        259: (3, 1, 1),
        262: (3, 1, photometric),
        273: (4, 1, 8 + len(extra)),
        277: (3, 1, len(bits)),
        278: (4, 1, height),
        279: (4, 1, len(data)),
    }
    entries |= {_TIFF_TAGS[name]: (3, 1, value) for name, value in tags.items()}
    directory = struct.pack("<H", len(entries))
    for tag, (kind, count, value) in sorted(entries.items()):
        directory += struct.pack("<HHII", tag, kind, count, value)
    return struct.pack("<2sHI", b"II", 42, 8 + len(extra) + len(data)) + extra + data + directory + bytes(4)


def tiff_in_big_endian(data: bytes, bits: int, sample_format: int) -> bytes:
    """Return a big-endian TIFF, packed by deflate, of one row of grey."""
    packed = zlib.compress(data)
    width = len(data) * 8 // bits
    entries = {
        256: (4, width),
        257: (4, 1),
        258: (3, bits << 16),
        259: (3, 8 << 16),
        262: (3, 1 << 16),
        273: (4, 8),
        277: (3, 1 << 16),
        278: (4, 1),
        279: (4, len(packed)),
        339: (3, sample_format << 16),
    }
    packed += bytes(len(packed) % 2)
    directory = struct.pack(">H", len(entries))
    for tag, (kind, value) in entries.items():
        directory += struct.pack(">HHII", tag, kind, 1, value)
    return struct.pack(">2sHI", b"MM", 42, 8 + len(packed)) + packed + directory + bytes(4)


def gif(screen: tuple[int, int], frame: tuple[int, int, int, int], indices: list[int], palette: list[int]) -> bytes:
    """Return a GIF of four colours, of which one frame (left, top, width, height) is drawn on a screen."""
    bits = 0
    for place, code in enumerate([each for index in indices for each in (4, index)] + [5]):  # 4: codes begin anew
        bits |= code << 3 * place
    stream = bits.to_bytes((2 * len(indices) + 1) * 3 // 8 + 1, "little")
    head = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x81, 0, 0) + bytes(palette)
    return head + b"," + struct.pack("<HHHHB", *frame, 0) + bytes([2, len(stream)]) + stream + b"\0;"


def bmp_with_alpha(*pixels: tuple[int, int, int, int]) -> bytes:
    """Return a BMP of one row, whose header (version 4) says where red, green, blue and alpha are."""
    samples = b"".join(bytes((blue, green, red, alpha)) for red, green, blue, alpha in pixels)
    head = struct.pack("<IiiHHIIiiII", 108, len(pixels), 1, 1, 32, 3, len(samples), 0, 0, 0, 0)
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    return b"BM" + struct.pack("<IHHI", 122 + len(samples), 0, 0, 122) + head + masks + bytes(52) + samples
