"""Trained detectors on real photos: the same objects as plain onnxruntime found, in the same places.

The models and photos are no part of the project; where they are missing, these tests skip.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference.image import decode
from inference.models.geometry import Frame
from inference.models.loading import load_session
from inference.models.manifest import write_manifest
from inference.models.postprocess import postprocess
from inference.models.preprocess import preprocess
from inference.models.repository import ModelRepository
from inference.models.session import ModelSession
from inference.settings import ImageSettings

#: expected.json cuts coordinates to whole pixels and scores to three places.
PIXELS = 1.01
SCORE = 1e-3
#: By INFERENCE_EXACT_RESIZE, what docs/reference/performance.md promises besides.
TOLERANCE = {False: 3e-3, True: 1e-5}

YOLOX = """
[input]
resize = "letterbox-top-left"
color = "BGR"
scale = 1
[detection]
decoder = "yolox"
"""

ULTRAFACE = """
[input]
resize = "stretch"
scale = 1
mean = [127]
std = [128]
[detection]
decoder = "boxes-scores"
score_threshold = 0.7
"""

PHOTOS = 18
DETECTORS = {
    "yolox_nano": (YOLOX, None),
    "ultraface_rfb_320": (ULTRAFACE, "background\nface\n"),
}


@pytest.fixture(scope="module", params=[*DETECTORS])
def detector(request: pytest.FixtureRequest, assets: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelSession:
    toml, labels = DETECTORS[request.param]
    repository = tmp_path_factory.mktemp("models")
    version = repository / request.param / "1"
    version.mkdir(parents=True)
    (version / "model.onnx").write_bytes((assets / "models" / f"{request.param}.onnx").read_bytes())
    (version / "model.toml").write_text(toml)
    (version / "labels.txt").write_text(labels or (assets / "labels" / "coco80.txt").read_text())
    write_manifest(version)
    session = load_session(ModelRepository(repository).resolve(request.param))
    session.warm()
    return session


def expected(assets: Path, session: ModelSession) -> Iterator[tuple[str, list[Any]]]:
    detections = json.loads((assets / "expected.json").read_bytes())["detections"][session.version.name]
    assert len(detections) == PHOTOS
    yield from detections.items()


@pytest.mark.parametrize("exact_resize", [False, True])
def test_every_photo_has_the_objects_that_plain_onnxruntime_finds(
    assets: Path, detector: ModelSession, exact_resize: bool
) -> None:
    for photo, objects in expected(assets, detector):
        image = decode((assets / "images" / photo).read_bytes(), ImageSettings())
        outputs = detector.run(preprocess(image.picture, detector.spec, exact_resize=exact_resize))
        found: list[Any] = postprocess(outputs, detector.spec, frame=Frame(image.width, image.height))

        assert [item["label"] for item in found] == [label for label, _, _ in objects], photo
        for item, (_, score, corners) in zip(found, objects, strict=True):
            assert item["score"] == pytest.approx(score, abs=SCORE + TOLERANCE[exact_resize]), photo
            # What reaches beyond the photo is cut off here and not there.
            limits = (image.width, image.height) * 2
            inside = [min(max(corner, 0), limit) for corner, limit in zip(corners, limits, strict=True)]
            box = [item[side] for side in ("xmin", "ymin", "xmax", "ymax")]
            assert box == pytest.approx(inside, abs=PIXELS), photo


def test_photo_that_is_decoded_smaller_has_its_objects_in_the_same_places(assets: Path, detector: ModelSession) -> None:
    data = (assets / "images" / "dog.jpg").read_bytes()
    spec = detector.spec
    assert spec.image is not None
    whole, small = decode(data, ImageSettings()), decode(data, ImageSettings(), target=(160, 160))
    assert small.reduced_by > 1

    both: list[list[Any]] = [
        [*postprocess(detector.run(preprocess(i.rgb, spec)), spec, frame=Frame(i.width, i.height, i.reduced_by))]
        for i in (whole, small)
    ]

    assert len(both[0]) == len(both[1]) == 1
    for side in ("xmin", "ymin", "xmax", "ymax"):
        # A fiftieth of the photo's side: other pixels, the same place.
        assert both[0][0][side] == pytest.approx(both[1][0][side], abs=max(whole.width, whole.height) / 50)
