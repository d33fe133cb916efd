"""Preprocess: every way to resize, colour, order and type the tensor, against the plain way to say the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from inference.errors import InvalidRequest
from inference.models.declaration import parse_declaration
from inference.models.preprocess import preprocess
from inference.models.spec import ModelSpec, resolve_spec
from tests.unit.models.published import signature_of


def spec_of(toml: str, shape: tuple[int | None, ...] = (None, 3, 4, 6), dtype: str = "float32") -> ModelSpec:
    return resolve_spec(parse_declaration(toml.encode()), signature_of(shape, dtype=dtype))


def photo(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """A smooth picture, as photos are, with some noise in it."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    return np.clip(smooth + random.integers(-8, 9, smooth.shape), 0, 255).astype(np.uint8)


def test_image_of_the_models_size_passes_through_untouched() -> None:
    image = photo(6, 4)
    tensor = preprocess(image, spec_of("[input]\nscale = 1\nresize = 'stretch'"))

    assert tensor.shape == (1, 3, 4, 6)
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    assert np.array_equal(tensor[0], image.transpose(2, 0, 1))


def test_values_are_pixel_times_scale_less_mean_by_deviation() -> None:
    image = photo(6, 4)
    tensor = preprocess(image, spec_of("[input]\nmean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]"))

    expected = (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert np.allclose(tensor[0], expected.transpose(2, 0, 1), atol=1e-6)


def test_interleaved_layout_holds_the_same_values() -> None:
    toml = "[input]\nmean = [0.485, 0.456, 0.406]"
    planar = preprocess(photo(6, 4), spec_of(toml))
    interleaved = preprocess(photo(6, 4), spec_of(toml, (None, 4, 6, 3)))

    assert interleaved.shape == (1, 4, 6, 3)
    assert interleaved.flags.c_contiguous
    assert np.array_equal(interleaved.transpose(0, 3, 1, 2), planar)


def test_bgr_turns_the_channels_round_before_their_means() -> None:
    image = photo(6, 4)
    tensor = preprocess(image, spec_of("[input]\ncolor = 'BGR'\nscale = 1\nmean = [1, 2, 3]"))

    assert np.array_equal(tensor[0], (image[:, :, ::-1].astype(np.float32) - [1, 2, 3]).transpose(2, 0, 1))


def test_grey_is_what_pillow_makes_of_the_colours() -> None:
    image = photo(6, 4)
    tensor = preprocess(image, spec_of("[input]\nscale = 1", (None, 1, 4, 6)))

    assert np.array_equal(tensor[0, 0], np.asarray(Image.fromarray(image).convert("L")))


@pytest.mark.parametrize("shape", [(None, 3, 4, 6), (None, 4, 6, 3)])
def test_uint8_model_gets_the_pixels(shape: tuple[int | None, ...]) -> None:
    image = photo(6, 4)
    tensor = preprocess(image, spec_of("", shape, "uint8"))

    assert tensor.dtype == np.uint8
    assert tensor.flags.c_contiguous
    assert np.array_equal(tensor[0], image.transpose(2, 0, 1) if shape[1] == 3 else image)


def test_half_precision_model_gets_half_precision() -> None:
    tensor = preprocess(photo(6, 4), spec_of("", dtype="float16"))

    assert tensor.dtype == np.float16
    assert np.allclose(tensor, preprocess(photo(6, 4), spec_of("")), atol=1e-3)


@pytest.mark.parametrize("resize", ["letterbox", "letterbox-top-left"])
@pytest.mark.parametrize(("width", "height"), [(60, 20), (20, 60), (2, 1)])
def test_letterbox_fills_what_the_image_does_not_cover(resize: str, width: int, height: int) -> None:
    white = np.full((height, width, 3), 255, np.uint8)
    tensor = preprocess(white, spec_of(f"[input]\nscale = 1\npad = 7\nresize = '{resize}'", (None, 3, 12, 12)))

    covered = tensor[0, 0] == 255
    assert set(np.unique(tensor)) == {7.0, 255.0}
    assert covered.sum() == {3: 48, 1 / 3: 48, 2: 72}[width / height]
    assert bool(covered[0, 0]) is (resize == "letterbox-top-left")


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("width", "height"),
    [
        (500, 375),
        (375, 500),
        (64, 48),
        (300, 300),
        (500, 334),
        (320, 232),
        (232, 320),
        (376, 263),
        (640, 427),
        (257, 601),
    ],
)
def test_photo_is_resized_and_cropped_to_the_very_pixel(interpolation: str, width: int, height: int) -> None:
    image = photo(width, height)
    toml = f"[input]\nscale = 1\nresize = 'shorter-side'\nresize_to = 256\ninterpolation = '{interpolation}'"
    spec = spec_of(toml, (None, 3, 224, 224))
    expected = resize_then_crop(image, interpolation)

    assert np.array_equal(preprocess(image, spec, exact_resize=True)[0], expected)
    assert np.abs(preprocess(image, spec)[0] - expected).max() <= 2  # more of it: tests/unit/image/test_resize.py


def resize_then_crop(image: NDArray[np.uint8], interpolation: str) -> NDArray[Any]:
    """Shorter side to 256, then the middle 224 x 224, written out."""
    height, width = image.shape[:2]
    size = (256, round(256 * height / width)) if width <= height else (round(256 * width / height), 256)
    resized = Image.fromarray(image).resize(size, Image.Resampling[interpolation.upper()])
    left, top = (size[0] - 224) // 2, (size[1] - 224) // 2
    return np.asarray(resized.crop((left, top, left + 224, top + 224))).transpose(2, 0, 1).astype(np.float32)


def test_image_a_thousand_times_as_wide_as_high_costs_no_more_than_its_crop() -> None:
    # Resized whole, its shorter side to 256, it would take 256 x 4 194 304 pixels.
    wide = np.zeros((1, 16_384, 3), np.uint8)

    assert preprocess(wide, spec_of("[input]\nresize_to = 256", (None, 3, 224, 224))).shape == (1, 3, 224, 224)


def test_model_that_takes_no_image_refuses_one() -> None:
    spec = resolve_spec(parse_declaration(b""), signature_of((None, 1), dtype="string"))

    with pytest.raises(InvalidRequest, match="text"):
        preprocess(photo(6, 4), spec)
