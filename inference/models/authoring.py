"""Making a version from an ONNX file: its folder, a proposed model.toml, golden files, and the manifest last.

It refuses to publish what the service would refuse: a version appears in the repository only once it has passed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from inference.errors import ModelNotFound, ModelUnavailable
from inference.models.catalog import is_model_name, is_version
from inference.models.declaration import DECLARATION_NAME, Declaration
from inference.models.golden import write_golden
from inference.models.inspection import Inspection, ScoredFile, describe_tensor, inspect_version, score_file
from inference.models.loading import DEFAULT_LABELS_NAME, read_model_signature
from inference.models.manifest import MANIFEST_NAME, MODEL_NAME, SCRIPT_NAME, read_manifest_bytes, write_manifest
from inference.models.publication import VersionExists
from inference.models.repository import ModelRepository, ModelVersion
from inference.models.signature import Signature
from inference.models.spec import resolve_spec


class NewVersion(Struct, frozen=True):
    """What a version is to be made from."""

    #: An ONNX file; or a folder with model.onnx and everything that belongs to it (weights, labels, score.py, …).
    source: Path
    name: str
    #: None: one more than the highest published one.
    version: str | None = None
    labels: Path | None = None
    #: A model.toml of the author's own; None proposes one where the source has none.
    declaration: Path | None = None
    task: str | None = None
    #: An image, or a text for a text model, whose run becomes the golden files.
    golden: Path | None = None


class MadeVersion(Struct, frozen=True):
    """What came of it. It is published when the inspection has no problem."""

    version: ModelVersion
    declaration: str
    inspection: Inspection
    scored: ScoredFile | None = None


def make_version(wanted: NewVersion, repository: Path) -> MadeVersion:
    """Make a version, inspect it, and publish it in the folder `repository` if nothing is wrong with it.

    Raises ModelUnavailable and the like for files that cannot be read or scored, VersionExists.
    """
    version = wanted.version or next_version(repository, wanted.name)
    target = repository / wanted.name / version
    if target.exists():
        raise VersionExists(version)
    with _staging(target) as staging:
        _copy(wanted, staging)
        draft = ModelVersion(wanted.name, version, staging, "")
        declaration = _declare(wanted, draft)
        scored = None
        inspection = _seal(draft)
        if wanted.golden is not None and inspection.session is not None and inspection.problem is None:
            scored = score_file(inspection.session, wanted.golden.read_bytes())
            arrays = {name: value for name, value in scored.outputs.items() if hasattr(value, "dtype")}
            write_golden(staging, scored.inputs, arrays)
            inspection = _seal(draft)
        if inspection.problem is None:
            try:
                staging.rename(target)
            except OSError:
                if target.exists():  # somebody else made it meanwhile
                    raise VersionExists(version) from None
                raise
        return MadeVersion(ModelVersion(wanted.name, version, target, ""), declaration, inspection, scored)


def next_version(repository: Path, name: str) -> str:
    """Return one more than the highest version of a model that is published in a folder, or `1`."""
    try:
        versions = ModelRepository(repository).versions(name) if repository.is_dir() else []
    except ModelNotFound:
        versions = []
    return str(int(versions[-1]) + 1) if versions else "1"


def propose_declaration(signature: Signature, task: str | None, file: str) -> str:
    """Return a model.toml that leaves to the model what the model tells, and names what nobody but its author knows."""
    lines = [f"# Proposed by `onnxfn model add` from {file}. A line that begins with # shows a default or a choice."]
    lines += [f"# in:  {describe_tensor(tensor)}" for tensor in signature.inputs]
    lines += [f"# out: {describe_tensor(tensor)}" for tensor in signature.outputs]
    lines += [f'task = "{task}"' if task else '# task = "classification"  # detection, text, tensor']
    only = signature.inputs[0] if len(signature.inputs) == 1 else None
    if only is not None and len(only.shape) == 4 and task in (None, "classification", "detection"):
        is_gray = 1 in (only.shape[1], only.shape[3])
        values = [_VALUES, *(_GRAY if is_gray else _IMAGENET)] if only.dtype != "uint8" else []
        lines += ["", "[input]", *values, _RESIZE[task == "detection"], *([] if is_gray else [_COLOR])]
    if task != "tensor":
        lines += ["", "[output]", _ACTIVATION[task in ("detection", "text")]]
    if task not in ("tensor", "detection"):
        lines += ["# top_k = 5"]
    if task == "detection":
        lines += ["", "[detection]", 'decoder = "yolox"  # yolov8, ssd, boxes-scores', "# score_threshold = 0.35"]
    return "\n".join(lines) + "\n"


#: What a graph does not tell of its training.
_VALUES = (
    "# value = (pixel * scale - mean) / std: as the model was trained, or its answers are nonsense\n"
    "# scale = 0.00392156862745098"
)
#: ImageNet's, as most classifiers want them; and -1 … 1, for the one channel of a model of grey pixels.
_IMAGENET = ("# mean = [0.485, 0.456, 0.406]", "# std = [0.229, 0.224, 0.225]")
_GRAY = ("# mean = [0.5]", "# std = [0.5]")
_COLOR = '# color = "RGB"  # BGR, L'

#: The default of a classification, and of a detection.
_RESIZE = (
    '# resize = "shorter-side"  # stretch, letterbox, letterbox-top-left',
    '# resize = "letterbox"  # letterbox-top-left, stretch, shorter-side',
)
#: The default of a classification, and of a detection or a text.
_ACTIVATION = (
    '# activation = "softmax"  # none, sigmoid (multi-label)',
    '# activation = "none"  # sigmoid, softmax: where the graph ends in logits',
)


def _copy(wanted: NewVersion, staging: Path) -> None:
    try:
        if wanted.source.is_dir():
            for path in sorted(wanted.source.iterdir()):
                if path.name != MANIFEST_NAME:
                    shutil.copyfile(path, staging / path.name)
        else:
            shutil.copyfile(wanted.source, staging / MODEL_NAME)
        for given, name in ((wanted.labels, DEFAULT_LABELS_NAME), (wanted.declaration, DECLARATION_NAME)):
            if given is not None:
                shutil.copyfile(given, staging / name)
    except OSError as exc:
        raise ModelUnavailable(f"{Path(exc.filename or wanted.source).name} cannot be copied: {exc.strerror}.") from exc


def _declare(wanted: NewVersion, draft: ModelVersion) -> str:
    """Return the version's model.toml, proposing it where it has none."""
    path = draft.path / DECLARATION_NAME
    if not path.exists() and not (draft.path / SCRIPT_NAME).exists():
        signature = read_model_signature(draft)
        task = wanted.task or _guess_task(signature)
        path.write_text(propose_declaration(signature, task, wanted.source.name), encoding="utf-8")
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _guess_task(signature: Signature) -> str | None:
    try:
        return resolve_spec(Declaration(), signature).task
    except ModelUnavailable:
        return None  # what the graph does not tell, the check will ask for


def _seal(draft: ModelVersion) -> Inspection:
    write_manifest(draft.path)
    digest = hashlib.sha256(read_manifest_bytes(draft.path)).hexdigest()
    # Its score.py, if there is one, is the caller's own.
    return inspect_version(ModelVersion(draft.name, draft.version, draft.path, digest), score_scripts=True)


@contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """Yield a folder beside the target that no repository lists; it is gone at the end unless it was renamed."""
    if not is_model_name(target.parent.name):
        raise ModelUnavailable("a model's name is lower-case letters, digits, dots, dashes and underscores.")
    if not is_version(target.name):
        raise ModelUnavailable("a version is a number.")
    staging = target.parent / f".{target.name}.{os.getpid()}"
    made_model = not target.parent.exists()
    try:
        staging.mkdir(parents=True)
    except OSError as exc:
        raise ModelUnavailable(f"the repository cannot be written: {exc.strerror}.") from exc
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if made_model and not any(target.parent.iterdir()):
            target.parent.rmdir()
