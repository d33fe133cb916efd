"""Encoded images over the protocol become the tensors that the score routes make of them, whatever is set."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inference.engine.termination import Termination
from inference.errors import DeadlineExceeded, ImageTooLarge
from inference.http.oip.images import ImageDecoder
from inference.http.oip.tensors import Tensor
from inference.models.declaration import parse_declaration
from inference.models.encoded_image import prepare_image
from inference.models.spec import resolve_spec
from inference.settings import ImageSettings
from inference.telemetry import Timings
from tests.unit.models.published import signature_of


def photo() -> bytes:
    noise = np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(noise).resize((1803, 1207), Image.Resampling.BICUBIC).save(data, "JPEG")
    return data.getvalue()


def test_settings_of_images_hold_for_the_protocol_too() -> None:
    data, spec = photo(), resolve_spec(parse_declaration(b""), signature_of((None, 3, 224, 224)))
    made = []
    for settings in (ImageSettings(), ImageSettings(exact_resize=True), ImageSettings(fast_decode=True)):
        decoder = ImageDecoder(settings, max_image_bytes=1 << 20, max_images=8, timings=Timings())
        tensor = decoder.decode(Tensor("input", "BYTES", (1,), [memoryview(data)]), spec)

        assert np.array_equal(tensor, prepare_image(data, spec, settings, Timings()).tensor)
        made.append(tensor)

    # Each setting does something to this photo, or the comparison says nothing.
    assert not np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


@pytest.mark.parametrize("settings", [ImageSettings(max_image_pixels=100), ImageSettings(max_image_side=100)])
def test_limits_of_images_hold_for_the_protocol_too(settings: ImageSettings) -> None:
    spec = resolve_spec(parse_declaration(b""), signature_of((None, 3, 224, 224)))
    decoder = ImageDecoder(settings, max_image_bytes=1 << 20, max_images=8, timings=Timings())

    with pytest.raises(ImageTooLarge):
        decoder.decode(Tensor("input", "BYTES", (1,), [memoryview(photo())]), spec)


def test_once_the_request_was_ended_no_further_image_is_decoded() -> None:
    class EndingAtItsSecond(list[memoryview]):
        """Images of a request whose deadline passes while the second one is decoded."""

        def __getitem__(self, index: Any) -> Any:
            taken.append(index)
            if index == 1:
                termination.end()
            return super().__getitem__(index)

    taken: list[int] = []
    termination = Termination()
    spec = resolve_spec(parse_declaration(b""), signature_of((None, 3, 224, 224)))
    decoder = ImageDecoder(ImageSettings(), 1 << 20, 8, Timings(), termination)

    with pytest.raises(DeadlineExceeded):
        decoder.decode(Tensor("input", "BYTES", (4,), EndingAtItsSecond([memoryview(photo())] * 4)), spec)

    assert taken == [0, 1]
