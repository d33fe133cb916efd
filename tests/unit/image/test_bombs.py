"""Small files that would take minutes, or gigabytes: refused before they are opened or decoded."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from inference.errors import ImageTooLarge, InvalidImage
from inference.image import decode
from inference.image.bombs import MAX_READS, MAX_REPEATS, MAX_RUN_PIXELS, MAX_TILES
from inference.settings import ImageSettings
from tests.unit.image.files import encode, png_chunk

LIMITS = ImageSettings()
PIXELS = np.full((8, 8, 3), 128, np.uint8)
SHORT, LONG, RATIONAL = 3, 4, 5
LITTLE, BIG = "<", ">"

type Entries = dict[int, tuple[int, int, int]]


def exif_segments(number: int) -> bytes:
    segment = b"\xff\xe1\x00\x10Exif\0\0 padding"
    data = encode(PIXELS, "JPEG")
    return data[:2] + segment * number + data[2:]


def profiles(number: int) -> bytes:
    data = encode(PIXELS, "PNG")
    return data[:33] + png_chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(1000))) * number + data[33:]


@pytest.mark.parametrize(("make", "what"), [(exif_segments, "EXIF segments"), (profiles, "colour profiles")])
def test_what_a_file_has_once_is_not_read_a_million_times(make: Callable[[int], bytes], what: str) -> None:
    assert decode(make(MAX_REPEATS), LIMITS).width == 8
    with pytest.raises(ImageTooLarge, match=what):
        decode(make(MAX_REPEATS + 1), LIMITS)


def app_segments(number: int) -> bytes:
    data = encode(PIXELS, "JPEG")
    return data[:2] + b"\xff\xe5\0\2" * number + data[2:]


def private_chunks(number: int) -> bytes:
    data = encode(PIXELS, "PNG")
    return data[:33] + png_chunk(b"abCd", b"") * number + data[33:]


def comment_blocks(number: int) -> bytes:
    data = encode(PIXELS, "GIF")
    picture = data.index(b",")
    return data[:picture] + b"!\xfe" + b"\1a" * number + b"\0" + data[picture:]


def chunks_after_the_pixels(number: int) -> bytes:
    data = encode(PIXELS, "PNG")
    end = data.index(b"IEND") - 4
    return data[:end] + png_chunk(b"abCd", b"") * number + data[end:]


def empty_pixel_chunks(number: int) -> bytes:
    data = encode(PIXELS, "PNG")
    pixels = data.index(b"IDAT") - 4
    return data[:pixels] + png_chunk(b"IDAT", b"") * number + data[pixels:]


@pytest.mark.parametrize(
    "make", [app_segments, private_chunks, chunks_after_the_pixels, empty_pixel_chunks, comment_blocks]
)
def test_a_file_of_countless_small_parts_is_not_opened(make: Callable[[int], bytes]) -> None:
    assert decode(make(1000), LIMITS).width == 8
    with pytest.raises(ImageTooLarge, match="parts"):
        decode(make(MAX_READS), LIMITS)


def run_lengths(width: int, height: int, runs: bytes) -> bytes:
    offset = 14 + 40 + 4 * 256
    header = struct.pack("<2sIHHI", b"BM", offset + len(runs), 0, 0, offset)
    header += struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 1, 1, 256, 0)
    return header + bytes(4 * 256) + runs


def test_a_picture_of_countless_runs_is_read() -> None:
    """The runs of a BMP are pixels, not parts."""
    width, height = 400, 300
    assert width * height > MAX_READS

    image = decode(run_lengths(width, height, (b"\1\x07" * width + b"\0\0") * height + b"\0\1"), LIMITS)

    assert image.width == width


def test_a_picture_of_runs_that_take_no_room_is_not_read_to_its_end() -> None:
    with pytest.raises(ImageTooLarge, match="parts"):
        decode(run_lengths(8, 8, b"\0\0" * 1_000_001), LIMITS)


def test_a_large_picture_of_few_runs_is_refused() -> None:
    """What the runs leave out is filled up pixel by pixel."""
    with pytest.raises(ImageTooLarge, match="BMP of runs"):
        decode(run_lengths(5000, MAX_RUN_PIXELS // 5000 + 1, b"\0\0"), LIMITS)
    plain = encode(Image.new("L", (5000, MAX_RUN_PIXELS // 5000 + 1)), "BMP")
    assert decode(plain, LIMITS).width == 5000


def tiled(
    width: int, height: int, tile: tuple[int, int], *, order: str = LITTLE, **changes: tuple[int, int, int]
) -> bytes:
    """Return a deflated grey TIFF whose tiles all lie at one place; `changes` are entries by `tag_322`."""
    pixels = zlib.compress(bytes(tile[0] * tile[1]))
    number = -(-width // tile[0]) * -(-height // tile[1])
    entries: Entries = {
        256: (LONG, 1, width),
        257: (LONG, 1, height),
        258: (SHORT, 1, 8),
        259: (SHORT, 1, 8),
        262: (SHORT, 1, 1),
        277: (SHORT, 1, 1),
        322: (LONG, 1, tile[0]),
        323: (LONG, 1, tile[1]),
    }
    after = 8 + 2 + 12 * (len(entries) + 2) + 4
    data = after + 8 * number
    entries[324] = (LONG, number, after if number > 1 else data)
    entries[325] = (LONG, number, after + 4 * number if number > 1 else len(pixels))
    entries |= {int(name.removeprefix("tag_")): entry for name, entry in changes.items()}
    directory = struct.pack(order + "H", len(entries))
    for tag, (kind, count, value) in entries.items():
        directory += struct.pack(order + "HHI", tag, kind, count)
        directory += struct.pack(order + "I", value) if kind != SHORT else struct.pack(order + "HH", value, 0)
    head = struct.pack(order + "2sHI", b"II" if order == LITTLE else b"MM", 42, 8)
    offsets = struct.pack(order + f"{number}I", *[data] * number)
    sizes = struct.pack(order + f"{number}I", *[len(pixels)] * number)
    return head + directory + bytes(4) + offsets + sizes + pixels


@pytest.mark.parametrize("order", [LITTLE, BIG])
@pytest.mark.parametrize(("size", "tile"), [((20, 20), (16, 16)), ((20, 20), (1024, 1024)), ((100, 3), (64, 16))])
def test_tiles_that_reach_over_the_edge_are_cut(size: tuple[int, int], tile: tuple[int, int], order: str) -> None:
    image = decode(tiled(*size, tile, order=order), LIMITS)

    assert (image.width, image.height) == size
    assert not image.rgb.any()


@pytest.mark.parametrize("order", [LITTLE, BIG])
@pytest.mark.parametrize(
    ("size", "tile"),
    [
        # 30 KB that took 33 seconds: 1024 tiles, each of 16 million pixels of which one row is shown
        ((16_384, 1), (16, 100_000)),
        # two gigabytes in one piece
        ((16, 16), (16_384, 8192)),
    ],
)
def test_tiles_far_larger_than_the_image_are_refused(size: tuple[int, int], tile: tuple[int, int], order: str) -> None:
    with pytest.raises(ImageTooLarge, match="tiles"):
        decode(tiled(*size, tile, order=order), LIMITS)


def test_more_tiles_than_pixels_could_fill_are_refused_before_they_are_listed() -> None:
    many = (LONG, MAX_TILES + 1, 8)
    for data in (
        tiled(16, 16, (16, 16), tag_324=many),
        tiled(16, 16, (16, 16), tag_325=many),
        tiled(16, 16, (16, 16), tag_273=many),
        tiled(16, 16, (16, 16), tag_279=many),
    ):
        with pytest.raises(ImageTooLarge, match="strips or tiles"):
            decode(data, LIMITS)


def strips_at_one_place(height: int, claimed: int, *, tag: int = 279, kind: int = LONG, order: str = LITTLE) -> bytes:
    """Return a deflated grey TIFF of one-row strips that all lie at one place and claim so many bytes."""
    pixels = zlib.compress(bytes(16))
    entries: Entries = {
        256: (LONG, 1, 16),
        257: (LONG, 1, height),
        258: (SHORT, 1, 8),
        259: (SHORT, 1, 8),
        262: (SHORT, 1, 1),
        277: (SHORT, 1, 1),
        278: (LONG, 1, 1),
    }
    after = 8 + 2 + 12 * (len(entries) + 2) + 4
    sizes = struct.pack(order + ("H" if kind == SHORT else "I"), claimed) * height
    data = after + 4 * height + len(sizes)
    entries[273] = (LONG, height, after)
    entries[tag] = (kind, height, after + 4 * height)
    directory = struct.pack(order + "H", len(entries))
    for number, (form, count, value) in sorted(entries.items()):
        directory += struct.pack(order + "HHI", number, form, count)
        directory += (
            struct.pack(order + "HH", value, 0) if (form, count) == (SHORT, 1) else struct.pack(order + "I", value)
        )
    head = struct.pack(order + "2sHI", b"II" if order == LITTLE else b"MM", 42, 8)
    offsets = struct.pack(order + f"{height}I", *[data] * height)
    return head + directory + bytes(4) + offsets + sizes + pixels + bytes(claimed)


@pytest.mark.parametrize("order", [LITTLE, BIG])
@pytest.mark.parametrize("tag", [279, 325])
def test_strips_that_share_their_bytes_are_read_until_they_claim_more_than_their_pixels_could_take(
    tag: int, order: str
) -> None:
    """A megabyte of file in 16,384 strips of 16 pixels took half a minute, in 140,000 tiles four."""
    assert decode(strips_at_one_place(1000, 1000, order=order), LIMITS).height == 1000
    assert decode(strips_at_one_place(1000, 1000, kind=SHORT, order=order), LIMITS).height == 1000
    with pytest.raises(ImageTooLarge, match="claim"):
        decode(strips_at_one_place(1000, 1_000_000, tag=tag, order=order), LIMITS)


def test_sizes_of_strips_that_break_off_are_invalid() -> None:
    data = strips_at_one_place(1000, 1000)
    with pytest.raises(InvalidImage):
        decode(data[: data.index(struct.pack("<I", 1000) * 2) + 10], LIMITS)


@pytest.mark.parametrize("entry", [(RATIONAL, 1, 8), (LONG, 2, 8)])
def test_a_tile_whose_side_is_no_whole_number_is_invalid(entry: tuple[int, int, int]) -> None:
    with pytest.raises(InvalidImage):
        decode(tiled(16, 16, (16, 16), tag_323=entry), LIMITS)


def test_a_tile_side_told_twice_is_invalid() -> None:
    """Pillow and libtiff might go by different ones."""
    data = tiled(16, 16, (16, 16))
    width = struct.pack("<HHII", 322, LONG, 1, 16)
    depth = struct.pack("<HHIHH", 258, SHORT, 1, 8, 0)
    assert data.count(depth) == 1

    with pytest.raises(InvalidImage, match="one whole number"):
        decode(data.replace(depth, width), LIMITS)


@pytest.mark.parametrize("options", [{}, {"big_tiff": True}, {"compression": "tiff_lzw"}, {"compression": "jpeg"}])
def test_tiffs_as_they_are_written_are_read(options: dict[str, object]) -> None:
    image = decode(encode(Image.new("RGB", (300, 200), (9, 99, 199)), "TIFF", **options), LIMITS)

    assert (image.width, image.height) == (300, 200)


@pytest.mark.parametrize("kept", [*range(4, 24), 30, 60])
def test_a_directory_that_breaks_off_is_invalid(kept: int) -> None:
    for data in (tiled(16, 16, (16, 16)), encode(PIXELS, "TIFF", big_tiff=True)):
        with pytest.raises(InvalidImage):
            decode(data[:kept], LIMITS)
