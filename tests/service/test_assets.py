"""A trained MobileNetV2 through the running service: equal top-5 and scores as plain onnxruntime on the same file."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp
import numpy as np
import onnxruntime
import pytest
from PIL import Image, ImageOps

from inference.models.manifest import write_manifest
from tests.hosting import HostProcess
from tests.service.conftest import ROOT, environment, ready

#: The issue's bound on scores.
TOLERANCE = 1e-3

DECLARATION = """
task = "classification"
[input]
resize = "shorter-side"
resize_to = 256
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
"""


def plain_top_five(session: onnxruntime.InferenceSession, path: Path) -> list[tuple[int, float]]:
    """Score one photo as a script with Pillow, numpy and onnxruntime would."""
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    width, height = image.size
    scale = 256 / min(width, height)
    resized = image.resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR)
    left, top = (resized.width - 224) // 2, (resized.height - 224) // 2
    pixels = np.asarray(resized.crop((left, top, left + 224, top + 224)), np.float32) / 255
    values = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    logits = session.run(None, {"input": values.transpose(2, 0, 1)[None].astype(np.float32)})[0][0]
    probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    return [(int(index), float(probabilities[index])) for index in np.argsort(-probabilities)[:5]]


async def test_every_photo_scores_as_with_plain_onnxruntime(assets: Path, azurite: str, tmp_path: Path) -> None:
    version = tmp_path / "mobilenet" / "1"
    version.mkdir(parents=True)
    model = (assets / "models" / "mobilenetv2_fp32.onnx").read_bytes()
    (version / "model.onnx").write_bytes(model)
    (version / "model.toml").write_text(DECLARATION)
    labels = (assets / "labels" / "imagenet_classes.txt").read_text()
    (version / "labels.txt").write_text(labels)
    write_manifest(version)
    names = labels.splitlines()
    plain = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    photos = json.loads((assets / "expected.json").read_bytes())["classification_top5"]["mobilenetv2_fp32"]
    assert len(photos) >= 18

    settings = environment(azurite, INFERENCE_MODEL_REPOSITORY=str(tmp_path), INFERENCE_DEFAULT_MODEL="mobilenet")
    with HostProcess(ROOT, environment=settings) as host:
        async with aiohttp.ClientSession(f"{host.url}/api/") as client:
            await ready(client)
            for photo in photos:
                path = assets / "images" / photo
                headers = {"content-type": "application/octet-stream"}
                async with client.post("score", data=path.read_bytes(), headers=headers) as response:
                    predictions = (await response.json())["predictions"]
                for prediction, (index, score) in zip(predictions, plain_top_five(plain, path), strict=True):
                    assert prediction["score"] == pytest.approx(score, abs=TOLERANCE), photo
                    # Classes that no one can tell apart at this tolerance may stand either way round.
                    if score > TOLERANCE:
                        assert prediction["label"] == names[index], photo
