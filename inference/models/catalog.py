"""The catalog: what one look at a model repository found published, and what it says should serve.

It refuses to read anything, and to know what is loaded: `inference.models.registry` brings the two together.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Annotated

from msgspec import Meta, Struct, field

from inference.errors import ModelNotFound, ModelUnavailable, ModelVersionNotFound
from inference.schema import Misfit, Table, read

SERVING_NAME = "serving.toml"

#: A pin and a canary are a few lines; this is room for a page of comments.
MAX_SERVING_BYTES = 64 * 1024

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62})")
#: No leading zero, so that a version has one spelling; 18 digits fit any integer type.
_VERSION = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)

VersionNumber = Annotated[int, Meta(ge=0, lt=10**18)]


class Canary(Table, frozen=True):
    """A version that takes a share of the traffic."""

    version: VersionNumber
    #: 0 … 1, of the requests that name no version.
    share: Annotated[float, Meta(ge=0, le=1)]


class Serving(Table, frozen=True):
    """`serving.toml`: what serves when no version is named, where that is not the highest one."""

    version: VersionNumber | None = None
    canary: Canary | None = None


class Release(Struct, frozen=True):
    """One published state of a version: other files under the same number are another release."""

    name: str
    version: str
    #: Opaque, and another one whenever the version's manifest was written.
    revision: str

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


class PublishedModel(Struct, frozen=True):
    """A model that has a published version, or whose folder cannot be read."""

    name: str
    #: By version, lowest first.
    releases: Mapping[str, Release] = field(default_factory=dict)
    serving: Serving = field(default_factory=Serving)
    #: Why it cannot be told which version serves; None when it can.
    problem: str | None = None

    def release(self, version: str) -> Release:
        """Return a version. Raises ModelVersionNotFound, and ModelUnavailable while the versions are not known."""
        release = self.releases.get(version)
        if release is not None:
            return release
        if not self.releases and self.problem is not None:
            raise ModelUnavailable(self.problem)
        raise ModelVersionNotFound(f"Model {self.name} has no version {version}.")

    def candidates(self) -> list[Release]:
        """Return what may serve when no version is named, the best first.

        That is the pinned version alone, else every version but the canary, the highest first: where that one cannot be
        loaded, the one before it serves. Raises ModelUnavailable, naming what is wrong.
        """
        if self.problem is not None:
            raise ModelUnavailable(self.problem)
        if self.serving.version is not None:
            return [self.releases[str(self.serving.version)]]
        canary = str(self.serving.canary.version) if self.serving.canary else None
        ordered = [self.releases[version] for version in reversed([*self.releases])]
        return [release for release in ordered if release.version != canary] or ordered

    def canary(self) -> Release | None:
        """Return the version that takes a share of the traffic, when it is published and is not the one that serves."""
        canary = self.serving.canary
        if canary is None or canary.version == self.serving.version:
            return None
        return self.releases.get(str(canary.version))

    def describe(self) -> dict[str, object]:
        """Return what a listing shows."""
        canary = self.canary()
        return {
            "name": self.name,
            "version": self.candidates()[0].version if self.problem is None else None,
            "versions": list(self.releases),
            "canary": canary.version if canary is not None else None,
            "problem": self.problem,
        }


class Catalog(Struct, frozen=True):
    """Every published model, by name."""

    models: Mapping[str, PublishedModel] = field(default_factory=dict)

    def find(self, name: str) -> PublishedModel:
        """Return a model. Raises ModelNotFound; ModelUnavailable when the whole repository is empty.

        An empty repository is a lost mount or a wrong url far more often than a wish: no model is known to be missing.
        """
        published = self.models.get(name)
        if published is None and not self.models:
            raise ModelUnavailable("The model repository has no published model.")
        if published is None:
            raise ModelNotFound(f"There is no model {name[:64]}.")
        return published


def parse_reference(reference: str) -> tuple[str, str | None]:
    """Split `NAME[:VERSION]`. Raises ModelNotFound or ModelVersionNotFound for what can name no model or version."""
    name, colon, version = reference.partition(":")
    if not is_model_name(name):
        raise ModelNotFound("There is no model of that name.")
    if colon and not is_version(version):
        raise ModelVersionNotFound(f"Model {name} has no such version.")
    return name, version if colon else None


def is_model_name(text: str) -> bool:
    """Tell whether a folder of that name can hold a model."""
    return _NAME.fullmatch(text) is not None


def is_version(text: str) -> bool:
    """Tell whether a folder of that name can hold a version."""
    return _VERSION.fullmatch(text) is not None


def publish(name: str, releases: Iterable[Release], serving: bytes | None) -> PublishedModel:
    """Return a model from its versions, in any order, and the content of its `serving.toml`, None without one."""
    ordered = {release.version: release for release in sorted(releases, key=lambda release: int(release.version))}
    try:
        choice = Serving() if serving is None else _parse_serving(serving)
    except ValueError as exc:
        return PublishedModel(name, ordered, problem=f"{name}: {exc}")
    problem = None
    if choice.version is not None and str(choice.version) not in ordered:
        problem = f"{name}: {SERVING_NAME} pins version {choice.version}, which is not published."
    return PublishedModel(name, ordered, choice, problem)


def _parse_serving(data: bytes) -> Serving:
    """Raises ValueError with a sentence that names the key that is wrong."""
    if len(data) > MAX_SERVING_BYTES:
        raise ValueError(f"{SERVING_NAME}: it is larger than {MAX_SERVING_BYTES} bytes.")
    try:
        return read(Serving, tomllib.loads(data.decode("utf-8-sig")))
    except Misfit as exc:
        raise ValueError(f"{SERVING_NAME}: {exc}.") from exc
    except ValueError as exc:
        raise ValueError(f"{SERVING_NAME} cannot be read: {exc}.") from exc
