"""Encoded images as BYTES elements: decoded and preprocessed as the score routes do, stacked to the model's tensor.

It refuses to go around the limits that the score routes hold: bytes, pixels and images a request.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from inference.engine.termination import Termination
from inference.errors import ImageTooLarge, InvalidRequest, ItemRejected, TooManyInputs
from inference.http.oip.tensors import Tensor
from inference.models.encoded_image import prepare_image
from inference.models.spec import ModelSpec
from inference.settings import ImageSettings
from inference.telemetry import Timings


class ImageDecoder(Struct, frozen=True):
    """Decodes the images of one request; `timings` collects what the stages took, `termination` ends it between two."""

    images: ImageSettings
    max_image_bytes: int
    max_images: int
    timings: Timings
    termination: Termination = field(default_factory=Termination)

    def decode(self, tensor: Tensor, spec: ModelSpec) -> NDArray[Any]:
        """Return the tensor of all images, in their order.

        Raises InvalidRequest when there is none, TooManyInputs; ItemRejected, naming the element where there are
        several, for what is no image; DeadlineExceeded when nobody waits for the rest.
        """
        count = len(tensor.values)
        if not 0 < count <= self.max_images:
            problem = f"A request may have 1 to {self.max_images} images; it has {count}."
            raise TooManyInputs(problem) if count else InvalidRequest(problem)
        if len(tensor.shape) > 2 or any(size != 1 for size in tensor.shape[1:]):
            raise InvalidRequest(f"Input {tensor.name}: encoded images have the shape [N], one BYTES element each.")
        rows = [self._decode_element(tensor, index, spec) for index in range(count)]
        return rows[0] if len(rows) == 1 else np.concatenate(rows)

    def _decode_element(self, tensor: Tensor, index: int, spec: ModelSpec) -> NDArray[Any]:
        self.termination.check()
        try:
            return self._decode_one(tensor.values[index], spec)
        except ItemRejected as exc:
            if len(tensor.values) == 1:
                raise
            # One of them fails the whole request, so its sender has to know which.
            raise type(exc)(f"Input {tensor.name}, element {index}: {exc.message}") from exc

    def _decode_one(self, element: str | memoryview, spec: ModelSpec) -> NDArray[Any]:
        data = _decode_base64(element) if isinstance(element, str) else bytes(element)
        if len(data) > self.max_image_bytes:
            raise ImageTooLarge(f"The image has more than {self.max_image_bytes} bytes.")
        return prepare_image(data, spec, self.images, self.timings).tensor


def _decode_base64(text: str) -> bytes:
    """JSON has no bytes, so an image in it is base64 text, as `data` of the score routes is."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise InvalidRequest("An encoded image in JSON must be base64.") from None
