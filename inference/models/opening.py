"""Opens the model source that a setting or a command names.

It refuses to import the storage SDK for a folder: that takes a good part of a second.
"""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from inference.errors import SettingsError
from inference.models.blob_source import BlobSource
from inference.models.cache import VersionCache
from inference.models.location import ContainerLocation, is_url, parse_container_url
from inference.models.repository import ModelRepository
from inference.models.source import FolderSource, ModelSource
from inference.settings import StorageSettings

if TYPE_CHECKING:
    from inference.storage import BlobStore
    from inference.storage.azure import AzureStorage


class CacheChoice(Struct, frozen=True):
    """Where versions from a container are kept: the folder ("" for the default one) and how much it may hold."""

    folder: str
    max_bytes: int

    def open(self) -> VersionCache:
        """Return the cache; its folder is made when it is needed."""
        # One folder for each user: in a shared folder for temporary files another one's could not be trusted.
        default = Path(tempfile.gettempdir()) / f"onnxfn-models-{os.geteuid()}"
        return VersionCache(Path(self.folder) if self.folder else default, self.max_bytes)


def open_source(repository: str, storage: StorageSettings, cache: CacheChoice, executor: Executor) -> ModelSource:
    """Return the source of a folder or a container's url. Raises SettingsError; nothing is called before it is used."""
    if not is_url(repository):
        return FolderSource(ModelRepository(Path(repository)), executor)
    account, blobs, prefix = open_container(repository, storage)
    return BlobSource(blobs, prefix, cache.open(), executor, on_close=account.close)


def open_container(url: str, storage: StorageSettings) -> tuple[AzureStorage, BlobStore, str]:
    """Return the account, container and prefix that a url names, reached as the app's own account is where it is that.

    Another account is reached with the same identity. Raises SettingsError.
    """
    try:
        location = parse_container_url(url)
    except ValueError as exc:
        raise SettingsError([f"INFERENCE_MODEL_REPOSITORY: {exc}"]) from None
    account = _connect(location, storage)
    return account, account.blobs(location.container), location.prefix


def _connect(location: ContainerLocation, storage: StorageSettings) -> AzureStorage:
    from inference.storage.azure import AzureStorage

    if storage.connection_string:
        own = AzureStorage.connect(storage)
        if own.blob_endpoint.lower() == location.endpoint.lower():
            return own
    identity = StorageSettings(
        blob_service_uri=location.endpoint, credential=storage.credential, client_id=storage.client_id
    )
    return AzureStorage.connect(identity)
