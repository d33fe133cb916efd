"""How far INFERENCE_FAST_DECODE moves scores: the tolerance that docs/reference/performance.md states."""

from pathlib import Path

import numpy as np
import pytest

from inference.image import decode
from inference.models.geometry import reduction_target
from inference.models.loading import load_session
from inference.models.manifest import write_manifest
from inference.models.preprocess import preprocess
from inference.models.repository import ModelRepository
from inference.settings import ImageSettings
from tests.golden.test_assets import DECLARATION

TOLERANCE = 0.03


@pytest.mark.parametrize("model", ["mobilenetv2_fp32", "squeezenet1.1_fp32"])
def test_photo_decoded_smaller_keeps_its_label_and_its_scores_within_the_tolerance(
    assets: Path, tmp_path: Path, model: str
) -> None:
    version = tmp_path / "model" / "1"
    version.mkdir(parents=True)
    (version / "model.onnx").write_bytes((assets / "models" / f"{model}.onnx").read_bytes())
    (version / "model.toml").write_text(DECLARATION)
    (version / "labels.txt").write_bytes((assets / "labels/imagenet_classes.txt").read_bytes())
    write_manifest(version)
    session = load_session(ModelRepository(tmp_path).resolve("model"))
    assert session.spec.image is not None
    target = reduction_target(session.spec.image)
    reduced_photos = 0
    for path in sorted((assets / "images").glob("*.jpg")):
        reduced = decode(path.read_bytes(), ImageSettings(), target=target)
        if reduced.reduced_by == 1:
            continue
        reduced_photos += 1
        exact = decode(path.read_bytes(), ImageSettings())
        scores = []
        for image in (exact, reduced):
            (logits,) = session.run(preprocess(image.picture, session.spec)).values()
            exponentials = np.exp(logits[0].astype(np.float64) - logits.max())
            scores.append(exponentials / exponentials.sum())

        assert scores[0].argmax() == scores[1].argmax(), path.name
        assert np.abs(scores[0] - scores[1]).max() < TOLERANCE, path.name
    assert reduced_photos >= 5
