"""The model repository on disk: which models and versions are published, and which version serves.

It refuses to look into a version beyond its manifest: `inference.models.session` verifies and loads.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from inference.errors import ModelNotFound, ModelUnavailable, ModelVersionNotFound
from inference.models.manifest import MANIFEST_NAME, read_manifest_bytes

SERVING_NAME = "serving.toml"

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62})")
#: No leading zero, so that a version has one spelling; 18 digits fit any integer type.
_VERSION = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)

VersionNumber = Annotated[int, Strict(), Field(ge=0, lt=10**18)]


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One published version of a model: where it lies, and the sha256 of the manifest that vouches for it."""

    name: str
    version: str
    path: Path
    manifest_sha256: str

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


class Canary(BaseModel):
    """A version that takes a share of the traffic."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: VersionNumber
    #: 0 … 1, of the requests that name no version.
    share: Annotated[float, Strict(), Field(ge=0, le=1)]


class Serving(BaseModel):
    """`serving.toml`: what serves when no version is named, where that is not the highest one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: VersionNumber | None = None
    canary: Canary | None = None


def parse_reference(reference: str) -> tuple[str, str | None]:
    """Split `NAME[:VERSION]`. Raises ModelNotFound or ModelVersionNotFound for what can name no model or version."""
    name, colon, version = reference.partition(":")
    if not _NAME.fullmatch(name):
        raise ModelNotFound("There is no model of that name.")
    if colon and not _VERSION.fullmatch(version):
        raise ModelVersionNotFound(f"Model {name} has no such version.")
    return name, version if colon else None


class ModelRepository:
    """A folder of `NAME/VERSION/` folders. Every method reads the disk, so it sees versions as they are published."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        """Return the models that have a published version. Raises ModelUnavailable when the folder cannot be read."""
        return [name for name in sorted(_folders(self._folder, _NAME)) if self._is_published(name)]

    def versions(self, name: str) -> list[str]:
        """Return the published versions of a model, lowest first. Raises ModelNotFound, ModelUnavailable."""
        parse_reference(name)
        # While the repository's own folder cannot be read (a lost mount), no model is known to be missing.
        versions = self._published(name) if name in _folders(self._folder, _NAME) else []
        if not versions:
            raise ModelNotFound(f"There is no model {name}.")
        return versions

    def serving(self, name: str) -> Serving:
        """Return the model's `serving.toml`, or its defaults. Raises ModelUnavailable, naming the key that is wrong."""
        path = self._folder / name / SERVING_NAME
        try:
            return Serving.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return Serving()
        except ValidationError as exc:
            problem = exc.errors(include_url=False)[0]
            key = ".".join(str(part) for part in problem["loc"])
            raise ModelUnavailable(f"{name}: {SERVING_NAME}: {key}: {problem['msg']}.") from exc
        except (OSError, ValueError) as exc:
            raise ModelUnavailable(f"{name}: {SERVING_NAME} cannot be read.") from exc

    def resolve(self, reference: str) -> ModelVersion:
        """Return the version that `NAME:VERSION` names, or the one that serves for `NAME`.

        That is the one pinned in `serving.toml`, else the highest published one that is not the canary. Raises
        ModelNotFound, ModelVersionNotFound, and ModelUnavailable when the repository is not in order.
        """
        name, version = parse_reference(reference)
        versions = self.versions(name)
        if version is None:
            version = _default_version(name, versions, self.serving(name))
        elif version not in versions:
            raise ModelVersionNotFound(f"Model {name} has no version {version}.")
        path = self._folder / name / version
        return ModelVersion(name, version, path, hashlib.sha256(read_manifest_bytes(path)).hexdigest())

    def _is_published(self, name: str) -> bool:
        try:
            return bool(self._published(name))
        except ModelUnavailable:
            # Listed all the same: whoever asks for it learns that it is broken.
            return True

    def _published(self, name: str) -> list[str]:
        versions = _folders(self._folder / name, _VERSION)
        published = (version for version in versions if (self._folder / name / version / MANIFEST_NAME).exists())
        return sorted(published, key=int)


def _default_version(name: str, versions: list[str], serving: Serving) -> str:
    if serving.version is not None:
        if str(serving.version) not in versions:
            raise ModelUnavailable(f"{name}: {SERVING_NAME} pins version {serving.version}, which is not published.")
        return str(serving.version)
    canary = str(serving.canary.version) if serving.canary else None
    return next((version for version in reversed(versions) if version != canary), versions[-1])


def _folders(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    """Real folders only: a link could point at files that whoever published the model never saw."""
    try:
        with os.scandir(folder) as entries:
            return [e.name for e in entries if pattern.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]
    except OSError as exc:
        raise ModelUnavailable(f"The model repository cannot be read: {exc.strerror}.") from exc
