"""Every dtype and layout of image that a graph can take, through decode, preprocess, onnxruntime and postprocess."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from inference.image import decode
from inference.models.loading import load_session
from inference.models.postprocess import postprocess
from inference.models.preprocess import preprocess
from inference.settings import ImageSettings
from tests.unit.models.published import build_model, write_version

DTYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}
#: Red, green and blue of the left half; the right half is black.
COLOR = (200, 100, 50)


def mean_color_model(dtype: str, layout: str, batch: int | str) -> bytes:
    """A graph whose scores are the mean red, green and blue of the image, 0 … 1."""
    axes = [2, 3] if layout == "NCHW" else [1, 2]
    # A uint8 graph normalises by itself.
    scale = 1 / 255 if dtype == "uint8" else 1.0
    return build_model(
        [
            helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=axes, keepdims=0),
            helper.make_node("Mul", ["mean", "scale"], ["scores"]),
        ],
        inputs={"image": (DTYPES[dtype], [batch, 3, 4, 8] if layout == "NCHW" else [batch, 4, 8, 3])},
        outputs={"scores": (TensorProto.FLOAT, [batch, 3])},
        constants=[numpy_helper.from_array(np.array(scale, np.float32), "scale")],
    )


@pytest.mark.parametrize("batch", [1, "batch"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", [*DTYPES])
@pytest.mark.parametrize("color", ["RGB", "BGR"])
def test_mean_color_is_the_images(tmp_path: Path, dtype: str, layout: str, batch: int | str, color: str) -> None:
    photo = Image.new("RGB", (8, 4))
    photo.paste(COLOR, (0, 0, 4, 4))
    photo.save(tmp_path / "photo.png")
    toml = f"[input]\ncolor = '{color}'\n[output]\nactivation = 'none'"
    model = mean_color_model(dtype, layout, batch)
    session = load_session(write_version(tmp_path / "models", model, toml=toml, labels=["red", "green", "blue"]))
    session.warm()

    image = decode((tmp_path / "photo.png").read_bytes(), ImageSettings())
    tensor = preprocess(image.rgb, session.spec)
    scores = {item["label"]: item["score"] for item in postprocess(session.run(tensor), session.spec)}

    assert tensor.dtype == dtype
    means = [value / 255 / 2 for value in COLOR]
    assert [scores[label] for label in ("red", "green", "blue")] == pytest.approx(
        means if color == "RGB" else means[::-1], abs=1e-3
    )


def test_multi_label_model_scores_each_label_on_its_own(tmp_path: Path) -> None:
    toml = "[output]\nactivation = 'sigmoid'\ntop_k = 3"
    model = mean_color_model("uint8", "NHWC", "batch")
    session = load_session(write_version(tmp_path, model, toml=toml, labels=["red", "green", "blue"]))

    white = np.full((4, 8, 3), 255, np.uint8)
    predictions = postprocess(session.run(preprocess(white, session.spec)), session.spec, min_score=0.7)

    # The sigmoid of 1, three times: together they are more than one.
    assert [item["score"] for item in predictions] == pytest.approx([1 / (1 + np.exp(-1))] * 3, abs=1e-6)
    assert [item["label"] for item in predictions] == ["red", "green", "blue"]
