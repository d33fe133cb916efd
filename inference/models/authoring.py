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
from inference.models.declaration import DECLARATION_NAME
from inference.models.golden import write_golden
from inference.models.inspection import Inspection, ScoredFile, inspect_version, score_file
from inference.models.loading import DEFAULT_LABELS_NAME, read_model_signature
from inference.models.manifest import MANIFEST_NAME, MODEL_NAME, SCRIPT_NAME, read_manifest_bytes, write_manifest
from inference.models.proposal import gives_probabilities, propose_declaration
from inference.models.publication import VersionExists
from inference.models.repository import ModelRepository, ModelVersion
from inference.models.signature import Signature


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
        inspection = _seal(draft) if _is_declared(draft) else _seal_proposed(wanted, draft)
        path = draft.path / DECLARATION_NAME
        # What is not UTF-8 the inspection has named.
        declaration = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        scored = None
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


def _copy(wanted: NewVersion, staging: Path) -> None:
    try:
        if wanted.source.is_dir():
            if not any((wanted.source / name).exists() for name in (MODEL_NAME, SCRIPT_NAME)):
                others = sorted(path.name for path in wanted.source.glob("*.onnx"))
                hint = f" In a folder {others[0]} is to be called so." if others else ""
                raise ModelUnavailable(f"{wanted.source.name} has no {MODEL_NAME}.{hint}")
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


def _is_declared(draft: ModelVersion) -> bool:
    """Tell whether its author gave a model.toml, or a script that needs none."""
    return any((draft.path / name).exists() for name in (DECLARATION_NAME, SCRIPT_NAME))


def _seal_proposed(wanted: NewVersion, draft: ModelVersion) -> Inspection:
    """Seal a version with a proposed model.toml, and once more where runs of it tell what its graph did not."""
    signature, path = _read_signature(wanted, draft), draft.path / DECLARATION_NAME
    path.write_text(propose_declaration(signature, wanted.task, wanted.source.name), encoding="utf-8")
    inspection = _seal(draft)
    if inspection.session is None or inspection.problem is not None or not gives_probabilities(inspection.session):
        return inspection
    proposal = propose_declaration(signature, wanted.task, wanted.source.name, gives_probabilities=True)
    path.write_text(proposal, encoding="utf-8")
    return _seal(draft)


def _read_signature(wanted: NewVersion, draft: ModelVersion) -> Signature:
    try:
        return read_model_signature(draft)
    except ModelUnavailable as exc:
        # PyTorch's exporter writes weights into a file beside the model's own.
        if wanted.source.is_dir() or "external data" not in exc.message.lower():
            raise
        raise ModelUnavailable(
            f"{exc.message.rstrip('.')}. A model whose weights are files of their own is added as a folder that has "
            f"them beside {MODEL_NAME}."
        ) from exc


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
