"""From encoded bytes to a model's input tensor: decode and preprocess, each noted as the stage it is.

It refuses to fetch and to count bytes: whoever lets an image in has done so.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from numpy.typing import NDArray

from inference.image import decode
from inference.models.geometry import Frame, reduction_target
from inference.models.preprocess import preprocess
from inference.models.spec import ModelSpec
from inference.settings import ImageSettings
from inference.telemetry import Stage, Timings, stage


class PreparedImage(Struct, frozen=True):
    """What a model is given of an image, and what its reply says of it."""

    #: 1 x C x H x W or 1 x H x W x C, in the model's dtype.
    tensor: NDArray[Any]
    frame: Frame
    #: JPEG, PNG, WEBP, GIF, BMP, TIFF or AVIF.
    format: str


def prepare_image(data: bytes, spec: ModelSpec, settings: ImageSettings, timings: Timings) -> PreparedImage:
    """Decode and preprocess an image.

    Raises InvalidImage and the like; InvalidRequest when the model takes no image.
    """
    # A JPEG may be decoded smaller by the frequencies that the model's input does not show.
    target = reduction_target(spec.image) if settings.fast_decode and spec.image is not None else None
    with stage(Stage.DECODE, timings):
        image = decode(data, settings, target=target)
    with stage(Stage.PREPROCESS, timings):
        tensor = preprocess(image.picture, spec, exact_resize=settings.exact_resize)
    frame = Frame(image.width, image.height, image.reduced_by, image.origin)
    return PreparedImage(tensor, frame, image.format)
