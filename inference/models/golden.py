"""The golden check: what a version answered when it was made, it must answer here before it serves.

A version may carry `golden-input.npz` and `golden-output.npz`: its input and output tensors by name, as `numpy.savez`
writes them. They are tensors and not an image, so that one form suits every task and a picture's decoder is no part of
what is checked. It refuses pickles, and files that unpack to more than they may.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.errors import InferenceError, ModelUnavailable
from inference.models.manifest import Manifest, read_listed_file
from inference.models.session import ModelSession

INPUT_NAME = "golden-input.npz"
OUTPUT_NAME = "golden-output.npz"

#: One input and output of any usual model; an archive that unpacks to more is a bomb or a data set.
MAX_GOLDEN_BYTES = 256 << 20

#: A number may differ from the golden one by ABSOLUTE + RELATIVE * |golden|. Other processors sum in another order:
#: float32 then differs by about 1e-5 of the largest term; float16 has three digits.
ABSOLUTE_TOLERANCE = 1e-4
RELATIVE_TOLERANCE = 1e-3
FLOAT16_TOLERANCE = 1e-2

type Tensors = dict[str, NDArray[Any]]


def check_golden(session: ModelSession, manifest: Manifest) -> None:
    """Run the golden input, if the version has one, and compare. Raises ModelUnavailable with the first difference."""
    present = [name for name in (INPUT_NAME, OUTPUT_NAME) if name in manifest.files]
    if not present:
        return
    try:
        if len(present) == 1:
            missing = INPUT_NAME if present == [OUTPUT_NAME] else OUTPUT_NAME
            raise ModelUnavailable(f"{missing}: it is missing, and {present[0]} is there.")
        expected = _read(session, manifest, OUTPUT_NAME)
        _compare(expected, session.run_bounded(_read(session, manifest, INPUT_NAME)))
    except InferenceError as exc:
        raise ModelUnavailable(f"{session.version}: golden check: {exc.message}") from exc


def write_golden(folder: Path, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> None:
    """Write both files of a version that is being made."""
    for name, tensors in ((INPUT_NAME, inputs), (OUTPUT_NAME, outputs)):
        # Strings as numpy's own kind: objects could only be pickled.
        plain = {key: tensor.astype(str) if tensor.dtype == object else tensor for key, tensor in tensors.items()}
        # As numpy.savez_compressed does, whose own arguments an input or output may be called: file, allow_pickle.
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for key, tensor in plain.items():
                with archive.open(f"{key}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, np.asarray(tensor), allow_pickle=False)


def _read(session: ModelSession, manifest: Manifest, name: str) -> Tensors:
    data = read_listed_file(session.version.path, manifest, name, max_bytes=MAX_GOLDEN_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_GOLDEN_BYTES:
                raise ModelUnavailable(f"{name}: it unpacks to more than {MAX_GOLDEN_BYTES} bytes.")
        with np.load(io.BytesIO(data), allow_pickle=False) as tensors:
            return {key: _as_run(tensors[key]) for key in tensors.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as exc:
        raise ModelUnavailable(f"{name}: it is not a file of numpy.savez without pickles.") from exc


def _as_run(tensor: NDArray[Any]) -> NDArray[Any]:
    return tensor.astype(object) if tensor.dtype.kind == "U" else tensor


def _compare(expected: Tensors, outputs: Mapping[str, NDArray[Any]]) -> None:
    if not expected:
        raise ModelUnavailable(f"{OUTPUT_NAME}: it holds no tensor.")
    for name, golden in expected.items():
        if name not in outputs:
            raise ModelUnavailable(f"{OUTPUT_NAME}: {name} is not an output that is read.")
        _compare_tensor(name, golden, np.asarray(outputs[name]))


def _compare_tensor(name: str, golden: NDArray[Any], actual: NDArray[Any]) -> None:
    if golden.shape != actual.shape or golden.dtype != actual.dtype:
        raise ModelUnavailable(
            f"output {name} is {actual.dtype} {list(actual.shape)}, golden is {golden.dtype} {list(golden.shape)}."
        )
    if golden.dtype.kind != "f":
        if not np.array_equal(golden, actual):
            raise ModelUnavailable(f"output {name} is not the golden one.")
        return
    if not np.isfinite(actual).all():
        raise ModelUnavailable(f"output {name} has a value that is not a finite number.")
    relative = FLOAT16_TOLERANCE if golden.dtype == np.float16 else RELATIVE_TOLERANCE
    difference = np.abs(actual.astype(np.float64) - golden)
    # Written so that a golden NaN is a difference too.
    wrong = ~(difference <= ABSOLUTE_TOLERANCE + relative * np.abs(golden))
    if wrong.any():
        raise ModelUnavailable(
            f"output {name} differs from the golden one in {int(wrong.sum())} of {wrong.size} values,"
            f" by up to {difference[wrong].max():.3g}."
        )
