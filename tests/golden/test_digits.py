"""The sample model on its sample images, and the promises that its files make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from inference.models.loading import load_session
from inference.models.manifest import compute_manifest, parse_manifest, read_manifest_bytes
from inference.models.postprocess import postprocess
from inference.models.preprocess import preprocess
from inference.models.repository import ModelRepository
from inference.models.session import ModelSession
from samples.digits_data import decode_scan, load_scans

SAMPLES = Path(__file__).parents[2] / "samples"
IMAGES = sorted((SAMPLES / "images" / "digits").iterdir())
REQUIRED_ACCURACY = 0.98


@pytest.fixture(scope="module")
def session() -> ModelSession:
    session = load_session(ModelRepository(SAMPLES / "models").resolve("digits"))
    session.warm()
    return session


def _best(session: ModelSession, file: bytes) -> str:
    return postprocess(session.run(preprocess(decode_scan(file), session.spec)), session.spec, top_k=1)[0]["label"]


def test_sample_images_are_ten_png_and_ten_jpeg_files_of_every_digit() -> None:
    names = {f"digit-{digit}-{ending}" for digit in range(10) for ending in ("a.png", "b.jpg")}

    assert {path.name for path in IMAGES} == names
    for path in IMAGES:
        with Image.open(path) as image:
            assert image.format == {".png": "PNG", ".jpg": "JPEG"}[path.suffix]
            assert min(image.size) >= 64


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)
def test_sample_image_is_read_as_the_digit_in_its_name(session: ModelSession, path: Path) -> None:
    assert _best(session, path.read_bytes()) == path.name.split("-")[1]


@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
def test_held_out_accuracy_is_what_the_training_script_states(session: ModelSession, image_format: str) -> None:
    _, held_out = load_scans(image_format)
    right = sum(
        _best(session, file) == str(label) for file, label in zip(held_out.files, held_out.labels.tolist(), strict=True)
    )

    assert len(held_out.files) == 360
    assert right / len(held_out.files) >= REQUIRED_ACCURACY


def test_sample_images_are_held_out_scans() -> None:
    training, held_out = ({decode_scan(file).tobytes() for file in scans.files} for scans in load_scans("PNG"))
    samples = {decode_scan(path.read_bytes()).tobytes() for path in IMAGES if path.suffix == ".png"}

    assert samples <= held_out
    assert not samples & training


def test_committed_manifest_is_that_of_the_committed_files() -> None:
    version = SAMPLES / "models" / "digits" / "1"

    assert parse_manifest(read_manifest_bytes(version)) == compute_manifest(version)
    assert sorted(compute_manifest(version).files) == ["labels.txt", "model.onnx", "model.toml"]


def test_model_takes_any_number_of_scans_and_rows_do_not_mix(session: ModelSession) -> None:
    tensors = [preprocess(decode_scan(path.read_bytes()), session.spec) for path in IMAGES]
    batched = session.run(np.concatenate(tensors))["logits"]

    assert session.spec.has_dynamic_batch
    for row, tensor in zip(batched, tensors, strict=True):
        assert np.allclose(row, session.run(tensor)["logits"][0], atol=1e-4)


def test_model_is_plain_onnx_of_the_stated_opset() -> None:
    model = onnx.load(SAMPLES / "models" / "digits" / "1" / "model.onnx")
    onnx.checker.check_model(model, full_check=True)

    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
