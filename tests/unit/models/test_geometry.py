"""Where an image lands on the canvas, and the way back."""

from __future__ import annotations

import random

import numpy as np
import pytest
from msgspec.structs import replace

from inference.models.declaration import Resize
from inference.models.geometry import Frame, Placement, place, to_frame
from inference.models.spec import ImageSpec

SPEC = ImageSpec(
    width=224,
    height=224,
    channels=3,
    resize="stretch",
    resize_to=None,
    interpolation="bilinear",
    layout="NCHW",
    color="RGB",
    dtype="float32",
    gain=(1.0,) * 3,
    bias=(0.0,) * 3,
    pad=114,
)


def test_stretch_takes_the_whole_image_to_the_whole_canvas() -> None:
    assert place(640, 480, SPEC) == Placement((640, 480), (224, 224), (0, 0))


@pytest.mark.parametrize(
    ("width", "height", "size", "offset"),
    [
        (500, 375, (341, 256), (-58, -16)),
        (375, 500, (256, 341), (-16, -58)),
        (640, 427, (384, 256), (-80, -16)),  # 383.7 is rounded, not cut off
        (500, 334, (383, 256), (-79, -16)),  # of an odd number of columns, the spare one is cut off at the right
        (64, 64, (256, 256), (-16, -16)),
    ],
)
def test_shorter_side_gets_its_length_and_the_middle_is_shown(
    width: int, height: int, size: tuple[int, int], offset: tuple[int, int]
) -> None:
    spec = replace(SPEC, resize="shorter-side", resize_to=256)

    placement = place(width, height, spec)

    assert placement == Placement((width, height), size, offset)
    assert placement.shown(spec) == (-offset[0], -offset[1], -offset[0] + 224, -offset[1] + 224)


@pytest.mark.parametrize(
    ("width", "height", "size", "offset"),
    [
        (640, 480, (299, 224), (-37, 0)),
        (480, 640, (224, 299), (0, -37)),
        (224, 224, (224, 224), (0, 0)),
    ],
)
def test_shorter_side_without_a_length_covers_the_canvas_just_so(
    width: int, height: int, size: tuple[int, int], offset: tuple[int, int]
) -> None:
    placement = place(width, height, replace(SPEC, resize="shorter-side"))

    assert placement == Placement((width, height), size, offset)


def test_letterbox_centres_the_image_with_the_odd_pixel_below() -> None:
    placement = place(640, 427, replace(SPEC, resize="letterbox"))

    assert placement == Placement((640, 427), (224, 149), (0, 37), 0.35)


def test_letterbox_top_left_truncates_as_yolox_does() -> None:
    spec = replace(SPEC, resize="letterbox-top-left", width=416, height=416)

    assert place(768, 576, spec) == Placement((768, 576), (416, 312), (0, 0), 416 / 768)
    assert place(640, 427, spec).size == (416, 277)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (Frame(448, 448), (20, 40, 60, 80)),
        (Frame(896, 896, reduced_by=2), (40, 80, 120, 160)),
        (Frame(895, 895, reduced_by=2), (40, 80, 120, 160)),  # 448 pixels were decoded, the last of them a half one
        (
            Frame(895, 895, reduced_by=2, origin=(-1, 0)),
            (39, 80, 119, 160),
        ),  # and this one was stored the other way round
        (Frame(448, 50), (20, 40 * 50 / 448, 60, 80 * 50 / 448)),
    ],
)
def test_boxes_come_back_to_the_image_that_was_decoded_smaller(
    frame: Frame, expected: tuple[float, float, float, float]
) -> None:
    boxes = to_frame(np.array([[10.0, 20.0, 30.0, 40.0]]), frame, SPEC)

    assert boxes[0].tolist() == pytest.approx(expected)


def test_boxes_end_at_the_edges_of_the_image() -> None:
    boxes = to_frame(np.array([[-50.0, -1.0, 500.0, 1e300]]), Frame(640, 480), SPEC)

    assert boxes.tolist() == [[0, 0, 640, 480]]


def test_no_boxes_are_no_boxes() -> None:
    assert to_frame(np.empty((0, 4)), Frame(640, 480), SPEC).shape == (0, 4)


@pytest.mark.parametrize("resize", ["stretch", "shorter-side", "letterbox", "letterbox-top-left"])
@pytest.mark.parametrize("seed", range(50))
def test_any_image_lands_on_the_canvas_and_finds_its_way_back(resize: Resize, seed: int) -> None:
    source = random.Random(seed)
    width, height = source.choice([1, 2, 7, 500, 16_384]), source.choice([1, 3, 375, 16_384])
    spec = replace(SPEC, resize=resize, width=source.randint(1, 512), height=source.randint(1, 512))
    if resize == "shorter-side":
        longest = max(spec.width, spec.height)
        spec = replace(spec, resize_to=source.choice([None, longest, longest + source.randint(1, 99)]))

    placement = place(width, height, spec)

    left, top, right, bottom = placement.shown(spec)
    assert 0 <= left < right <= placement.size[0]
    assert 0 <= top < bottom <= placement.size[1]
    assert right - left <= spec.width
    assert bottom - top <= spec.height
    for offset, size, side in zip(placement.offset, placement.size, (spec.width, spec.height), strict=True):
        is_covered = offset <= 0 and offset + size >= side
        is_inside = offset >= 0 and offset + size <= side
        assert is_covered or (is_inside and resize.startswith("letterbox"))
    assert placement.to_image(*placement.offset) == pytest.approx((0, 0))
    corner = (placement.offset[0] + placement.size[0], placement.offset[1] + placement.size[1])
    # Sides of a letterbox are whole pixels of the canvas; the way back knows the scale before it was rounded.
    rounded = 1 / placement.scale if placement.scale else 1e-6 * max(width, height)
    assert placement.to_image(*corner) == pytest.approx((width, height), abs=rounded)
