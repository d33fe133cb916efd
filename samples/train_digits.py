"""Train `samples/models/digits/1` and write the whole model version and its sample images.

    python -m samples.train_digits

It refuses to publish a model that misses its accuracy on scans it has never seen, measured the way the service scores:
image file → decode → preprocess → onnxruntime → postprocess.
"""

from __future__ import annotations

import string
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.models.loading import load_session
from inference.models.manifest import MODEL_NAME, write_manifest
from inference.models.postprocess import postprocess
from inference.models.preprocess import preprocess
from inference.models.repository import ModelRepository
from inference.models.session import ModelSession
from samples.convolutional_network import Adam, Array, Parameters, export_onnx, initial_parameters, loss_gradients
from samples.digits_data import Scans, decode_scan, load_scans

REQUIRED_ACCURACY = 0.98
SEED = 7
SIDE = 16
CHANNELS = (16, 32)
EPOCHS = 60
BATCH = 64
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.02
MAX_SHIFT = 1
_PAPER = 1.0

FOLDER = Path(__file__).parent

DECLARATION = f"""\
# Handwritten digits, dark on light or light on dark. Made by samples/train_digits.py.
task = "classification"

[input]
name = "input"
size = [{SIDE}, {SIDE}]
resize = "letterbox"
interpolation = "bilinear"
layout = "NCHW"
color = "L"
scale = 0.00392156862745098 # 1 / 255
mean = [0.5]
std = [0.5]
pad = 255

[output]
name = "logits"
activation = "softmax"
labels = "labels.txt"
top_k = 3
"""


def main() -> None:
    """Train, measure, publish."""
    training, _ = load_scans("PNG")
    with tempfile.TemporaryDirectory() as scratch:
        untrained = _load_version(Path(scratch), initial_parameters(np.random.default_rng(SEED), SIDE, CHANNELS, 10))
        parameters = _train(_tensors(training, untrained), training.labels)
        _measure(_load_version(Path(scratch), parameters))
    _write_version(FOLDER / "models", parameters)


def _measure(session: ModelSession) -> None:
    """State the accuracy on the held-out scans and write some of them as sample images."""
    for image_format in ("PNG", "JPEG"):
        _, held_out = load_scans(image_format)
        is_right = _classify(held_out, session) == held_out.labels
        _require_accuracy(is_right, f"{image_format} files")
        _write_images(held_out, is_right, image_format)
        _require_accuracy(
            _classify(held_out, session, is_inverted=True) == held_out.labels, f"{image_format}, inverted"
        )


def _train(images: Array, classes: NDArray[np.int64]) -> Parameters:
    random = np.random.default_rng(SEED)
    parameters = initial_parameters(random, SIDE, CHANNELS, 10)
    optimiser = Adam(parameters, WEIGHT_DECAY)
    for epoch in range(EPOCHS):
        learning_rate = LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * epoch / EPOCHS))
        order = random.permutation(len(images))
        losses = []
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            loss, gradients = loss_gradients(parameters, _augment(images[rows], random), classes[rows])
            optimiser.update(gradients, learning_rate)
            losses.append(loss)
        print(f"epoch {epoch + 1:2} of {EPOCHS}: loss {np.mean(losses):.4f}")
    return parameters


def _augment(images: Array, random: np.random.Generator) -> Array:
    """Shift each image a little and invert every second one, as ink may be darker or lighter than its paper."""
    padding = (MAX_SHIFT, MAX_SHIFT)
    padded = np.pad(images, ((0, 0), (0, 0), padding, padding), constant_values=_PAPER)
    offsets = random.integers(0, 2 * MAX_SHIFT + 1, (len(images), 2))
    shifted = [
        image[:, row : row + SIDE, column : column + SIDE] for image, (row, column) in zip(padded, offsets, strict=True)
    ]
    signs = random.choice(np.array([-1, 1], np.float32), (len(images), 1, 1, 1))
    return np.stack(shifted) * signs


def _write_version(repository: Path, parameters: Parameters) -> None:
    folder = repository / "digits" / "1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_NAME).write_bytes(export_onnx(parameters, SIDE).SerializeToString(deterministic=True))
    (folder / "model.toml").write_text(DECLARATION, encoding="utf-8")
    (folder / "labels.txt").write_text("\n".join(string.digits) + "\n", encoding="utf-8")
    write_manifest(folder)


def _load_version(repository: Path, parameters: Parameters) -> ModelSession:
    _write_version(repository, parameters)
    return load_session(ModelRepository(repository).resolve("digits"))


def _tensors(scans: Scans, session: ModelSession) -> Array:
    return np.concatenate([preprocess(decode_scan(file), session.spec) for file in scans.files])


def _require_accuracy(is_right: NDArray[np.bool_], what: str) -> None:
    print(f"held-out accuracy, {what}: {is_right.mean():.4f} ({is_right.sum()} of {len(is_right)})")
    if is_right.mean() < REQUIRED_ACCURACY:
        raise SystemExit(f"the accuracy is below {REQUIRED_ACCURACY}")


def _classify(scans: Scans, session: ModelSession, *, is_inverted: bool = False) -> NDArray[np.int64]:
    """Return what the service would answer for each scan."""
    images = (decode_scan(file) for file in scans.files)
    tensors = (preprocess(255 - image if is_inverted else image, session.spec) for image in images)
    best = [postprocess(session.run(tensor), session.spec, top_k=1)[0] for tensor in tensors]
    return np.array([int(prediction["label"]) for prediction in best])


def _write_images(scans: Scans, is_right: NDArray[np.bool_], image_format: str) -> None:
    """Write one held-out scan a digit that the model gets right: the a's are PNG files, the b's JPEG files."""
    folder = FOLDER / "images" / "digits"
    folder.mkdir(parents=True, exist_ok=True)
    letter, nth, suffix = ("a", 0, "png") if image_format == "PNG" else ("b", 1, "jpg")
    for digit in range(10):
        index = np.flatnonzero((scans.labels == digit) & is_right)[nth]
        (folder / f"digit-{digit}-{letter}.{suffix}").write_bytes(scans.files[index])


if __name__ == "__main__":
    main()
