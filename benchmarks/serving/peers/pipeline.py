"""Owns what every peer computes: the pre- and postprocessing that their documentation shows, Pillow and numpy line by
line. It refuses to be clever: this is the pipeline that the in-process limit is measured with.

MODEL, LABELS and THREADS (of one run) come from the environment.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)


def preprocess(image: Image.Image) -> np.ndarray[Any, Any]:
    """Return the tensor (1 x 3 x 224 x 224, float32) of an opened image."""
    image = image.convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32) / 255
    return np.ascontiguousarray(((pixels - _MEAN) / _STD).transpose(2, 0, 1)[np.newaxis])


class Pipeline:
    """Bytes of a photo to the five best labels of an ImageNet classifier."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        if threads := int(os.environ.get("THREADS", "0")):
            options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._labels = Path(os.environ["LABELS"]).read_text().splitlines()

    def score(self, data: bytes) -> list[dict[str, Any]]:
        """Return the predictions for an encoded image."""
        return self.score_image(Image.open(io.BytesIO(data)))

    def score_image(self, image: Image.Image) -> list[dict[str, Any]]:
        """Return the predictions for an opened image."""
        tensor = preprocess(image)
        logits = self._session.run(None, {self._input: tensor})[0][0]
        exponentials = np.exp(logits - logits.max())
        scores = exponentials / exponentials.sum()
        best = np.argsort(-scores)[:5]
        return [{"label": self._labels[index], "score": float(scores[index])} for index in best]
