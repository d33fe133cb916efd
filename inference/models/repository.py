"""The model repository on disk: which models and versions are published, and which version serves.

It refuses to look into a version beyond its manifest: `inference.models.loading` verifies and loads.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from inference.errors import ModelNotFound, ModelUnavailable
from inference.models.catalog import (
    MAX_SERVING_BYTES,
    SERVING_NAME,
    Catalog,
    PublishedModel,
    Release,
    is_model_name,
    is_version,
    parse_reference,
    publish,
)
from inference.models.manifest import MANIFEST_NAME, FileStamp, read_manifest_bytes


class ModelVersion(Struct, frozen=True):
    """One published version of a model: where it lies, and the sha256 of the manifest that vouches for it."""

    name: str
    version: str
    path: Path
    manifest_sha256: str
    #: What the files looked like when they were compared with the manifest; None when no one has done so yet.
    stamps: Mapping[str, FileStamp] | None = None

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


class ModelRepository:
    """A folder of `NAME/VERSION/` folders. Every method reads the disk, so it sees versions as they are published."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def survey(self) -> Catalog:
        """Return everything that is published. Raises ModelUnavailable when the folder cannot be read."""
        models = {name: self._survey_model(name) for name in sorted(_folders(self._folder, is_model_name))}
        return Catalog({name: model for name, model in models.items() if model.releases or model.problem})

    def versions(self, name: str) -> list[str]:
        """Return the published versions of a model, lowest first. Raises ModelNotFound, ModelUnavailable."""
        model = self._find(name)
        if not model.releases and model.problem is not None:
            raise ModelUnavailable(model.problem)
        return list(model.releases)

    def resolve(self, reference: str) -> ModelVersion:
        """Return the version that `NAME:VERSION` names, or the best that may serve for `NAME`.

        Raises ModelNotFound, ModelVersionNotFound, and ModelUnavailable when the repository is not in order.
        """
        name, version = parse_reference(reference)
        model = self._find(name)
        return self.open(model.candidates()[0] if version is None else model.release(version))

    def open(self, release: Release) -> ModelVersion:
        """Return where a release lies. Raises ModelUnavailable when its manifest cannot be read any more."""
        return open_folder(self._folder / release.name / release.version)

    def _find(self, name: str) -> PublishedModel:
        name, _ = parse_reference(name)
        # While the repository's own folder cannot be read (a lost mount), no model is known to be missing.
        if name in _folders(self._folder, is_model_name):
            model = self._survey_model(name)
            if model.releases or model.problem:
                return model
        raise ModelNotFound(f"There is no model {name}.")

    def _survey_model(self, name: str) -> PublishedModel:
        folder = self._folder / name
        try:
            versions = _folders(folder, is_version)
            serving = _read_serving(folder)
        except ModelUnavailable as exc:
            # Listed all the same: whoever asks for it learns that it is broken.
            return PublishedModel(name, problem=f"{name}: {exc.message}")
        revisions = ((version, _revision(folder / version / MANIFEST_NAME)) for version in versions)
        releases = [Release(name, version, revision) for version, revision in revisions if revision is not None]
        return publish(name, releases, serving)


def open_folder(path: Path) -> ModelVersion:
    """Return the version in a folder `…/NAME/VERSION`. Raises ModelUnavailable when its manifest cannot be read."""
    folder = path.absolute()
    digest = hashlib.sha256(read_manifest_bytes(folder)).hexdigest()
    return ModelVersion(folder.parent.name, folder.name, folder, digest)


def _read_serving(folder: Path) -> bytes | None:
    try:
        with (folder / SERVING_NAME).open("rb") as file:
            return file.read(MAX_SERVING_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ModelUnavailable(f"{SERVING_NAME} cannot be read: {exc.strerror}.") from exc


def _revision(manifest: Path) -> str | None:
    """Return what changes with every writing of the manifest; None when there is none."""
    try:
        status = manifest.lstat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}-{status.st_ctime_ns:x}"


def _folders(folder: Path, is_wanted: Callable[[str], bool]) -> list[str]:
    """Real folders only: a link could point at files that whoever published the model never saw."""
    try:
        with os.scandir(folder) as entries:
            return [e.name for e in entries if is_wanted(e.name) and e.is_dir(follow_symlinks=False)]
    except OSError as exc:
        raise ModelUnavailable(f"The model repository cannot be read: {exc.strerror}.") from exc


@contextmanager
def naming(version: ModelVersion) -> Iterator[None]:
    """Say which version it is about in whatever ModelUnavailable comes out of the block."""
    try:
        yield
    except ModelUnavailable as exc:
        raise ModelUnavailable(f"{version}: {exc.message}") from exc
