"""A model source: where the registry learns what is published and gets a version's files from; the folder is one.

It refuses to load models: it ends where files lie on this machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Protocol

from msgspec import Struct

from inference.errors import ModelUnavailable
from inference.models.catalog import Catalog, Release
from inference.models.manifest import parse_manifest, read_manifest_bytes
from inference.models.repository import ModelRepository, ModelVersion


def _nothing() -> None:
    return


class LocalVersion(Struct, frozen=True):
    """A version whose files are on this machine for as long as somebody holds it."""

    version: ModelVersion
    #: The size of its files.
    bytes: int
    #: Call it once nothing needs the files any more, from any thread.
    release: Callable[[], None] = _nothing


class ModelSource(Protocol):
    """What the registry asks of a repository. Calls raise ModelUnavailable, or what storage raises when it fails."""

    async def survey(self) -> Catalog:
        """Return what is published now."""

    async def fetch(self, release: Release) -> LocalVersion:
        """Bring a release's files to this machine. Raises InsufficientStorage when they do not fit."""

    async def close(self) -> None:
        """Close connections."""


class FolderSource:
    """A repository on disk: its files are where they are."""

    def __init__(self, repository: ModelRepository, executor: Executor) -> None:
        self._repository = repository
        self._executor = executor

    async def survey(self) -> Catalog:
        """Return what is published now."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._repository.survey)

    async def fetch(self, release: Release) -> LocalVersion:
        """Return where the release lies."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._open, release)

    async def close(self) -> None:
        """Do nothing: there is no connection to close."""

    def _open(self, release: Release) -> LocalVersion:
        try:
            version = self._repository.open(release)
            return LocalVersion(version, parse_manifest(read_manifest_bytes(version.path)).total_bytes)
        except ModelUnavailable as exc:
            raise ModelUnavailable(f"{release}: {exc.message}") from exc
