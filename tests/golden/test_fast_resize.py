"""How far resizing with SIMD moves scores from those of Pillow's pixels: what docs/reference/performance.md states."""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np
import pytest

from inference.image import decode
from inference.models.preprocess import preprocess
from inference.settings import ImageSettings
from tests.golden.test_assets import DECLARATION, open_session

LARGEST, MEDIAN = 0.003, 0.0002


@pytest.mark.parametrize("model", ["mobilenetv2_fp32", "squeezenet1.1_fp32"])
def test_photo_resized_fast_keeps_its_label_and_its_scores_within_the_tolerance(
    assets: Path, tmp_path: Path, model: str
) -> None:
    moved = []
    with open_session(assets, tmp_path, model, DECLARATION, "imagenet_classes.txt") as session:
        for path in sorted((assets / "images").glob("*.jpg")):
            picture = decode(path.read_bytes(), ImageSettings()).picture
            scores = []
            for exact_resize in (False, True):
                tensor = preprocess(picture, session.spec, exact_resize=exact_resize)
                (logits,) = session.run(tensor).values()
                exponentials = np.exp(logits[0].astype(np.float64) - logits.max())
                scores.append(exponentials / exponentials.sum())
            assert scores[0].argmax() == scores[1].argmax(), path.name
            moved.append(np.abs(scores[0] - scores[1]).max())

    assert len(moved) >= 20
    assert max(moved) <= LARGEST
    assert statistics.median(moved) <= MEDIAN
