"""The golden check: a version that answers otherwise than when it was made does not serve."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from inference.errors import ModelUnavailable
from inference.models.golden import INPUT_NAME, MAX_GOLDEN_BYTES, OUTPUT_NAME, write_golden
from inference.models.loading import load_ready_session
from inference.models.repository import ModelVersion
from tests.unit.models.published import build_model, pixels_as_logits, write_version

PIXELS = np.array([[[[1, 2], [3, 4]]]], np.float32)
LOGITS = np.array([[1, 2, 3, 4]], np.float32)

type Tensors = Mapping[str, NDArray[Any]]


def packed(tensors: Tensors) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=True, **tensors)
    return file.getvalue()


def published(folder: Path, model: bytes, inputs: Tensors, outputs: Tensors) -> ModelVersion:
    files = {INPUT_NAME: packed(inputs), OUTPUT_NAME: packed(outputs)}
    return write_version(folder, model, files=files)


@pytest.mark.parametrize("off_by", [0, 1e-3, -1e-3])
def test_output_within_the_tolerance_serves(tmp_path: Path, off_by: float) -> None:
    version = published(tmp_path, pixels_as_logits(), {"input": PIXELS}, {"logits": LOGITS * np.float32(1 + off_by)})

    assert str(load_ready_session(version).version) == str(version)


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        ({"logits": LOGITS + np.float32(0.01)}, r"differs from the golden one in 4 of 4 values, by up to 0\.01\."),
        ({"logits": LOGITS * np.float32("nan")}, "differs from the golden one in 4 of 4"),
        ({"logits": LOGITS[0]}, r"is float32 \[1, 4\], golden is float32 \[4\]"),
        ({"logits": LOGITS.astype(np.float64)}, "golden is float64"),
        ({"other": LOGITS}, "other is not an output"),
        ({}, "holds no tensor"),
        ({"logits": LOGITS.astype(object)}, r"golden-output\.npz: it is not a file of numpy\.savez without pickles"),
    ],
)
def test_other_output_is_refused_with_the_difference(tmp_path: Path, outputs: Tensors, reason: str) -> None:
    version = published(tmp_path, pixels_as_logits(), {"input": PIXELS}, outputs)

    with pytest.raises(ModelUnavailable, match=rf"^tiny:1: golden check: .*{reason}"):
        load_ready_session(version)


@pytest.mark.parametrize("inputs", [{}, {"pixels": PIXELS}, {"input": PIXELS, "more": PIXELS}, {"input": LOGITS}])
def test_input_that_the_model_does_not_take_is_refused(tmp_path: Path, inputs: Tensors) -> None:
    with pytest.raises(ModelUnavailable, match=r"^tiny:1: golden check: The model's run failed"):
        load_ready_session(published(tmp_path, pixels_as_logits(), inputs, {"logits": LOGITS}))


def test_output_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    model = build_model(
        [helper.make_node("Flatten", ["input"], ["flat"]), helper.make_node("Log", ["flat"], ["logits"])],
        inputs={"input": (TensorProto.FLOAT, ["batch", 2])},
        outputs={"logits": (TensorProto.FLOAT, ["batch", 2])},
    )
    version = published(tmp_path, model, {"input": -np.ones((1, 2), np.float32)}, {"logits": LOGITS[:, :2]})

    with pytest.raises(ModelUnavailable, match="output logits has a value that is not a finite number"):
        load_ready_session(version)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({INPUT_NAME: packed({"input": PIXELS})}, rf"{OUTPUT_NAME}: it is missing, and {INPUT_NAME} is there"),
        ({OUTPUT_NAME: packed({"logits": LOGITS})}, rf"{INPUT_NAME}: it is missing, and {OUTPUT_NAME} is there"),
        ({INPUT_NAME: b"", OUTPUT_NAME: b"junk"}, "is not a file of numpy"),
        ({INPUT_NAME: packed({"input": PIXELS})[:-30], OUTPUT_NAME: packed({"logits": LOGITS})}, "is not a file of"),
    ],
)
def test_files_that_are_missing_or_broken_are_named(tmp_path: Path, files: dict[str, bytes], reason: str) -> None:
    with pytest.raises(ModelUnavailable, match=rf"^tiny:1: golden check: .*{reason}"):
        load_ready_session(write_version(tmp_path, pixels_as_logits(), files=files))


def test_archive_that_unpacks_to_gigabytes_is_refused_before_it_does(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("input.npy", "w") as entry:
        for _ in range(MAX_GOLDEN_BYTES // (1 << 20) + 1):
            entry.write(bytes(1 << 20))
    files = {INPUT_NAME: file.getvalue(), OUTPUT_NAME: file.getvalue()}

    with pytest.raises(ModelUnavailable, match=f"unpacks to more than {MAX_GOLDEN_BYTES} bytes"):
        load_ready_session(write_version(tmp_path, pixels_as_logits(), files=files))


def test_written_golden_files_hold_strings_too(tmp_path: Path) -> None:
    model = build_model(
        [helper.make_node("Identity", ["text"], ["same"])],
        inputs={"text": (TensorProto.STRING, [None, 1])},
        outputs={"same": (TensorProto.STRING, [None, 1])},
    )
    text = np.array([["wörter"]], object)
    write_golden(tmp_path, {"text": text}, {"same": text})
    files = {name: (tmp_path / name).read_bytes() for name in (INPUT_NAME, OUTPUT_NAME)}

    load_ready_session(write_version(tmp_path / "models", model, files=files))
    write_golden(tmp_path, {"text": text}, {"same": np.array([["other"]], object)})
    files[OUTPUT_NAME] = (tmp_path / OUTPUT_NAME).read_bytes()
    with pytest.raises(ModelUnavailable, match="output same is not the golden one"):
        load_ready_session(write_version(tmp_path / "models", model, version="2", files=files))


@pytest.mark.parametrize(("input_name", "output_name"), [("file", "y"), ("x", "allow_pickle"), ("/a/x:0", "x.npy")])
def test_golden_files_hold_tensors_of_any_name(tmp_path: Path, input_name: str, output_name: str) -> None:
    model = build_model(
        [helper.make_node("Flatten", [input_name], [output_name])],
        inputs={input_name: (TensorProto.FLOAT, ["batch", 1, 2, 2])},
        outputs={output_name: (TensorProto.FLOAT, ["batch", 4])},
    )
    write_golden(tmp_path, {input_name: PIXELS}, {output_name: LOGITS})
    files = {name: (tmp_path / name).read_bytes() for name in (INPUT_NAME, OUTPUT_NAME)}
    load_ready_session(write_version(tmp_path / "right", model, files=files))

    write_golden(tmp_path, {input_name: PIXELS}, {output_name: LOGITS + 1})
    files = {name: (tmp_path / name).read_bytes() for name in (INPUT_NAME, OUTPUT_NAME)}
    with pytest.raises(ModelUnavailable, match=r"differs from the golden one in 4 of 4"):
        load_ready_session(write_version(tmp_path / "wrong", model, files=files))
