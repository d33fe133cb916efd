"""AVIFs of more frames than one: each costs as much as the picture, and none of them is shown."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image, features

from inference.errors import ImageTooLarge, InferenceError, InvalidImage
from inference.image import decode
from inference.settings import ImageSettings
from tests.unit.image.files import encode

IS_READ = features.check("avif")
pytestmark = pytest.mark.skipif(not IS_READ, reason="this Pillow has no AVIF")

LIMITS = ImageSettings(max_image_pixels=64 * 64)
PICTURE = Image.new("RGB", (64, 64), (9, 99, 199))


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def rewrite(data: bytes, extents: Sequence[tuple[int, int]], pixels: bytes) -> bytes:
    """Return the file with these pixel bytes, of which the item has the pieces (offset, length)."""
    meta, begin, end, rest = (data.index(kind) - 4 for kind in (b"meta", b"iloc", b"iinf", b"mdat"))

    def head(start: int) -> bytes:
        pieces = b"".join(struct.pack(">II", start + offset, length) for offset, length in extents)
        location = box(b"iloc", bytes.fromhex("000000004400000100010000") + struct.pack(">H", len(extents)) + pieces)
        return data[:meta] + box(b"meta", data[meta + 8 : begin] + location + data[end:rest])

    return head(len(head(0)) + 8) + box(b"mdat", pixels)


def pixels_of(data: bytes) -> bytes:
    return data[data.index(b"mdat") + 4 :]


@pytest.mark.parametrize("number", [1, 8])
def test_a_picture_of_some_layers_is_read(number: int) -> None:
    data = encode(PICTURE, "AVIF")
    frame = pixels_of(data)

    image = decode(rewrite(data, [(0, number * len(frame))], frame * number), LIMITS)

    assert np.abs(image.rgb.astype(int) - (9, 99, 199)).max() < 8


def test_a_picture_under_which_there_are_many_is_refused() -> None:
    """Twenty frames of 36 million pixels, 16 KB, took four seconds."""
    data = encode(PICTURE, "AVIF")
    frame = pixels_of(data)

    with pytest.raises(ImageTooLarge, match="frames"):
        decode(rewrite(data, [(0, 9 * len(frame))], frame * 9), LIMITS)


def test_frames_that_an_item_takes_from_one_place_many_times_are_counted() -> None:
    data = encode(PICTURE, "AVIF")
    frame = pixels_of(data)
    padding = b"\x7a\x7f" + bytes(127)  # a unit that says nothing, so that there are bytes enough to share

    with pytest.raises(ImageTooLarge, match="frames"):
        decode(rewrite(data, [(0, len(frame))] * 9, frame + padding * 9), LIMITS)
    with pytest.raises(ImageTooLarge, match="more bytes than the image"):
        decode(rewrite(data, [(0, len(frame))] * 1000, frame), LIMITS)


def test_a_frame_that_is_larger_than_the_picture_says_is_refused() -> None:
    """libavif decodes it, and scales it to the size that the file declares."""
    large = pixels_of(encode(Image.new("RGB", (640, 640)), "AVIF"))

    with pytest.raises(ImageTooLarge, match="frames"):
        decode(rewrite(encode(PICTURE, "AVIF"), [(0, len(large))], large), LIMITS)


def test_countless_empty_units_are_refused() -> None:
    data = encode(PICTURE, "AVIF")
    pixels = pixels_of(data) + b"\x7a\0" * 100_000

    with pytest.raises(ImageTooLarge, match="parts"):
        decode(rewrite(data, [(0, len(pixels))], pixels), LIMITS)


@pytest.mark.parametrize("before", [b"meta", b"hdlr"])
def test_countless_empty_boxes_are_refused(before: bytes) -> None:
    data = encode(PICTURE, "AVIF")
    at = data.index(before) - 4
    boxes = box(b"free", b"") * 100_001
    if before == b"hdlr":
        meta = data.index(b"meta") - 4
        (size,) = struct.unpack_from(">I", data, meta)
        data = data[:meta] + struct.pack(">I", size + len(boxes)) + data[meta + 4 :]

    with pytest.raises(ImageTooLarge, match="parts"):
        decode(data[:at] + boxes + data[at:], LIMITS)


@pytest.mark.parametrize("text", [b"\n<?xpacket begin=''?>" + bytes(60), b"\x0a\x0b" + b"\xff" * 60, b"2\x01 " * 50])
def test_a_text_that_looks_like_a_stream_is_passed_over(text: bytes) -> None:
    assert decode(encode(PICTURE, "AVIF", xmp=text), LIMITS).width == 64


def test_a_picture_that_is_said_to_be_a_text_is_invalid() -> None:
    with pytest.raises(InvalidImage):
        decode(encode(PICTURE, "AVIF").replace(b"av01", b"mime"), LIMITS)


@pytest.mark.parametrize("options", [{}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"}, {"subsampling": "4:0:0"}])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_avifs_as_they_are_written_are_read(mode: str, options: dict[str, object]) -> None:
    assert decode(encode(PICTURE.convert(mode), "AVIF", **options), LIMITS).width == 64


FILM = encode(PICTURE, "AVIF", save_all=True, append_images=[Image.new("RGB", (64, 64))]) if IS_READ else b""


def film(number: int) -> bytes:
    """Return a film whose first sample has so many frames."""
    sizes, offsets = FILM.index(b"stsz") + 16, FILM.index(b"stco") + 12
    (size,), (offset,) = struct.unpack_from(">I", FILM, sizes), struct.unpack_from(">I", FILM, offsets)
    data = bytearray(FILM)
    struct.pack_into(">I", data, sizes, number * size)
    struct.pack_into(">I", data, offsets, len(FILM) + 8)
    return bytes(data) + box(b"mdat", FILM[offset : offset + size] * (number + 1))


def test_the_first_frame_of_a_film_is_shown() -> None:
    for data in (FILM, film(1)):
        assert np.abs(decode(data, LIMITS).rgb.astype(int) - (9, 99, 199)).max() < 8


def test_a_film_whose_first_frame_is_many_is_refused() -> None:
    with pytest.raises(ImageTooLarge, match="frames"):
        decode(film(9), LIMITS)


def test_a_film_of_countless_tracks_is_refused() -> None:
    begin = FILM.index(b"moov") - 4
    (size,) = struct.unpack_from(">I", FILM, begin)
    tracks = FILM[begin + 8 : begin + size] * 17

    with pytest.raises(ImageTooLarge, match="parts"):
        decode(FILM[:begin] + box(b"moov", tracks) + FILM[begin + size :], LIMITS)


def test_a_file_without_a_place_for_its_items_is_invalid() -> None:
    data = encode(PICTURE, "AVIF")
    for broken in (data.replace(b"iloc", b"free"), data.replace(b"meta", b"free"), data[:40]):
        with pytest.raises(InvalidImage):
            decode(broken, LIMITS)


@pytest.mark.parametrize("seed", range(200))
def test_a_broken_file_is_read_or_refused(seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(encode(PICTURE, "AVIF"))
    for _ in range(chance.randint(1, 8)):
        data[chance.randrange(12, len(data))] = chance.randrange(256)
    with suppress(InferenceError):
        decode(bytes(data), LIMITS)
