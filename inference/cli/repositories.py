"""Model repositories as `onnxfn model` reaches them: a folder, or a container with the caller's own rights.

It refuses to be imported before it is needed: models and the storage SDK take most of a second to load.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from inference.cli.account import parse_storage
from inference.cli.failure import Failure, WrongCall
from inference.errors import InferenceError, NotFound, SettingsError
from inference.models.location import is_url
from inference.models.opening import CacheChoice, open_container, open_source
from inference.models.source import ModelSource
from inference.settings import ModelSettings, StorageSettings
from inference.storage import BlobStore

_UNBOUNDED = 1 << 62


def choose_repository(given: str | None) -> str:
    """Return the repository that a command means: its option, else the service's setting, else the samples."""
    return given or os.environ.get("INFERENCE_MODEL_REPOSITORY") or ModelSettings().repository


def require_folder(repository: str) -> Path:
    """Return the repository's folder. Raises WrongCall for a container's url."""
    if is_url(repository):
        raise WrongCall("--repository must be a folder here; `onnxfn model publish` uploads what lies in one.")
    return Path(repository)


def use_source[T](repository: str, storage: str | None, act: Callable[[ModelSource], Awaitable[T]]) -> T:
    """Open a repository, let `act` use it, and close it; what it fetches is gone afterwards. Raises Failure."""

    async def use() -> T:
        with tempfile.TemporaryDirectory(prefix="onnxfn-") as folder, ThreadPoolExecutor(2) as executor:
            settings = _choose_storage(storage)
            source = open_source(repository, settings, CacheChoice(f"{folder}/cache", _UNBOUNDED), executor)
            try:
                return await act(source)
            finally:
                await source.close()

    with translate_failures():
        return asyncio.run(use())


def use_container[T](url: str, storage: str | None, act: Callable[[BlobStore, str], Awaitable[T]]) -> T:
    """Open a container, let `act` use it and its prefix, and close it. Raises Failure."""

    async def use() -> T:
        account, blobs, prefix = open_container(url, _choose_storage(storage))
        try:
            return await act(blobs, prefix)
        finally:
            await account.close()

    with translate_failures():
        return asyncio.run(use())


@contextmanager
def translate_failures() -> Iterator[None]:
    """Raise Failure or WrongCall for what the product's own parts raise."""
    try:
        yield
    except SettingsError as exc:
        raise WrongCall(str(exc).replace("INFERENCE_MODEL_REPOSITORY: ", "The repository's url: ")) from None
    except NotFound as exc:
        raise WrongCall(f"{exc.message} ({exc.code})") from None
    except InferenceError as exc:
        raise Failure(f"{exc.message} ({exc.code})") from None


def _choose_storage(given: str | None) -> StorageSettings:
    """Return how to reach a container: as the option or the shell says, else with the caller's Azure login."""
    return parse_storage(given or os.environ.get("AzureWebJobsStorage", ""))  # noqa: SIM112 -- the platform's spelling
