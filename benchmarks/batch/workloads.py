"""Owns what is scored: a model repository and the images for it; it refuses models and photos that are not there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from inference.models.manifest import write_manifest

ROOT = Path(__file__).parents[2]
#: Photos and models that are no part of the project; `--assets` names another folder.
ASSETS = Path(os.environ.get("ONNXFN_TEST_ASSETS") or ROOT.parent / "shared/assets")

#: What ImageNet photos are that a camera or a web site would serve; the rest of the assets are format tests.
_PHOTOS = ("*.jpg",)

#: What MobileNetV2 is told by its model.toml.
MOBILENET_DECLARATION = """
task = "classification"
[input]
resize = "shorter-side"
resize_to = 256
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
"""


class WorkloadMissing(Exception):
    """The model or its photos are not on this machine."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A model and the image files that it scores over and over."""

    name: str
    repository: Path
    images: tuple[Path, ...]


def open_workload(name: str, assets: Path, scratch: Path) -> Workload:
    """Return the workload `digits` or `mobilenet`; `scratch` is for a repository that must be made.

    Raises WorkloadMissing.
    """
    return _open_digits() if name == "digits" else _open_mobilenet(assets, scratch)


def _open_digits() -> Workload:
    return Workload("digits", ROOT / "samples/models", tuple(sorted((ROOT / "samples/images/digits").iterdir())))


def _open_mobilenet(assets: Path, scratch: Path) -> Workload:
    model, labels = assets / "models/mobilenetv2_fp32.onnx", assets / "labels/imagenet_classes.txt"
    photos = tuple(sorted(path for pattern in _PHOTOS for path in (assets / "images").glob(pattern)))
    if not (model.is_file() and labels.is_file() and photos):
        raise WorkloadMissing(f"MobileNetV2 and photos are not in {assets}: name their folder with --assets")
    version = scratch / "mobilenet" / "1"
    version.mkdir(parents=True, exist_ok=True)
    (version / "model.onnx").write_bytes(model.read_bytes())
    (version / "labels.txt").write_bytes(labels.read_bytes())
    (version / "model.toml").write_text(MOBILENET_DECLARATION)
    write_manifest(version)
    return Workload("mobilenet", scratch, photos)
