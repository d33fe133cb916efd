"""Trained models on real photos: what comes out is what plain onnxruntime gives for the same file.

The models and photos are no part of the project; where they are missing, these tests skip.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from inference.image import decode
from inference.models.loading import load_session
from inference.models.manifest import write_manifest
from inference.models.postprocess import Prediction, postprocess
from inference.models.preprocess import preprocess
from inference.models.repository import ModelRepository
from inference.models.session import ModelSession
from inference.settings import ImageSettings

#: By INFERENCE_EXACT_RESIZE, what docs/reference/performance.md promises; of Pillow's pixels only float32 sums differ.
TOLERANCE = {False: 3e-3, True: 1e-5}
#: expected.json is rounded to four places.
ROUNDING = 5e-5

DECLARATION = """
[input]
resize = "shorter-side"
resize_to = 256
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
[output]
activation = "softmax"
labels = "labels.txt"
"""


@contextmanager
def open_session(assets: Path, folder: Path, model: str, declaration: str, labels: str) -> Iterator[ModelSession]:
    version = folder / "model" / "1"
    version.mkdir(parents=True)
    (version / "model.onnx").write_bytes((assets / "models" / f"{model}.onnx").read_bytes())
    (version / "model.toml").write_text(declaration)
    (version / "labels.txt").write_bytes((assets / "labels" / labels).read_bytes())
    write_manifest(version)
    session = load_session(ModelRepository(folder).resolve("model"))
    session.warm()
    yield session


def _score(session: ModelSession, path: Path, *, exact_resize: bool = False) -> list[Prediction]:
    picture = decode(path.read_bytes(), ImageSettings()).picture
    return postprocess(session.run(preprocess(picture, session.spec, exact_resize=exact_resize)), session.spec)


def _plain_scores(session: ModelSession, path: Path) -> NDArray[Any]:
    """The whole pipeline again, as a script would write it."""
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    width, height = image.size
    size = (256, round(256 * height / width)) if width <= height else (round(256 * width / height), 256)
    left, top = (size[0] - 224) // 2, (size[1] - 224) // 2
    cropped = image.resize(size, Image.Resampling.BILINEAR).crop((left, top, left + 224, top + 224))
    values = (np.asarray(cropped, np.float32) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    (logits,) = session.run(values.transpose(2, 0, 1)[np.newaxis].astype(np.float32)).values()
    exponentials = np.exp(logits[0].astype(np.float64) - logits.max())
    return np.asarray(exponentials / exponentials.sum())


@pytest.mark.parametrize("exact_resize", [False, True])
@pytest.mark.parametrize("model", ["mobilenetv2_fp32", "squeezenet1.1_fp32"])
def test_classifier_gives_the_top_five_of_plain_onnxruntime(
    assets: Path, tmp_path: Path, model: str, exact_resize: bool
) -> None:
    tolerance = TOLERANCE[exact_resize]
    expected = json.loads((assets / "expected.json").read_bytes())["classification_top5"][model]
    labels = (assets / "labels" / "imagenet_classes.txt").read_text().splitlines()

    with open_session(assets, tmp_path, model, DECLARATION, "imagenet_classes.txt") as session:
        assert len(expected) >= 18
        for photo, top_five in expected.items():
            path = assets / "images" / photo
            predictions = _score(session, path, exact_resize=exact_resize)
            plain = _plain_scores(session, path)

            # Neighbours whose scores round to the same may stand either way round.
            certain = [index for index, score in top_five if score > ROUNDING]
            assert [prediction["label"] for prediction in predictions][: len(certain)] == [
                labels[i] for i in certain
            ], photo
            for prediction, (index, score) in zip(predictions, top_five, strict=True):
                assert prediction["score"] == pytest.approx(score, abs=tolerance + ROUNDING), photo
                if index in certain:
                    assert prediction["score"] == pytest.approx(plain[index], abs=tolerance), photo


@pytest.mark.parametrize("digit", [0, 3, 7])
def test_mnist_model_reads_its_digits(assets: Path, tmp_path: Path, digit: int) -> None:
    # The model says of itself: one channel, 28 x 28, a batch of one. It wants pixels as they are.
    with open_session(assets, tmp_path, "mnist_opset8", "[input]\nscale = 1\n", "mnist.txt") as session:
        best = _score(session, assets / "images" / f"{digit}.png")[0]

    assert (best["label"], session.spec.has_dynamic_batch) == (str(digit), False)
    assert best["score"] > 0.9
