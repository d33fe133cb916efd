"""A model repository in a blob container: what is published there, and versions streamed into the cache and verified.

It refuses files that are not exactly those of their manifest, and never shows half a version under its name.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path

from inference.errors import InsufficientStorage, ModelUnavailable, StorageUnavailable
from inference.models.cache import Lease, VersionCache, translate_full_disk
from inference.models.catalog import (
    MAX_SERVING_BYTES,
    SERVING_NAME,
    Catalog,
    Release,
    is_model_name,
    is_version,
    publish,
)
from inference.models.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    FileDigest,
    FileStamp,
    Manifest,
    check_sizes,
    parse_manifest,
    verify_files,
)
from inference.models.repository import ModelVersion
from inference.models.source import LocalVersion
from inference.models.verified_file import VerifiedFile
from inference.storage import BlobNotFound, BlobProperties, BlobStore, BlobUnreadable, PreconditionFailed

#: Between looks at whether another process has filled the entry that this one wants too.
_LOOK_SECONDS = 0.1

#: How long another process may take to fill it; then this one gives up for now, and tries again as after any failure.
_PATIENCE_SECONDS = 600.0


type _Opened = tuple[Lease, Mapping[str, FileStamp]]


async def _do_nothing() -> None:
    return


class BlobSource:
    """A repository below `prefix` ("" or ending in a slash) of one container."""

    def __init__(
        self,
        blobs: BlobStore,
        prefix: str,
        cache: VersionCache,
        executor: Executor,
        *,
        on_close: Callable[[], Awaitable[None]] = _do_nothing,
    ) -> None:
        self._blobs = blobs
        self._prefix = prefix
        self._cache = cache
        self._executor = executor
        self._on_close = on_close
        #: The content of each `serving.toml`, by name and ETag: read again only when it was written again.
        self._serving: dict[tuple[str, str], bytes | None] = {}

    async def survey(self) -> Catalog:
        """Return what is published now: a listing (5,000 names a call), and each `serving.toml` that is new."""
        releases: dict[str, list[Release]] = {}
        serving: dict[str, str] = {}
        async for blob in self._list():
            match blob.name.removeprefix(self._prefix).split("/"):
                case [name, version, last] if last == MANIFEST_NAME and is_model_name(name) and is_version(version):
                    releases.setdefault(name, []).append(Release(name, version, blob.etag))
                case [name, last] if last == SERVING_NAME and is_model_name(name):
                    serving[name] = blob.etag
        kept = {(name, etag): await self._read_serving(name, etag) for name, etag in serving.items()}
        self._serving = kept
        contents = {name: content for (name, _), content in kept.items()}
        return Catalog({name: publish(name, releases[name], contents.get(name)) for name in sorted(releases)})

    async def fetch(self, release: Release) -> LocalVersion:
        """Return the release from the cache, filling it first where need be.

        Raises ModelUnavailable, naming the file that is not what the manifest says; InsufficientStorage.
        """
        with _naming(release):
            data = await self._read_manifest(release)
            manifest = parse_manifest(data)
            check_sizes(manifest)
            key = hashlib.sha256(data).hexdigest()
            lease, stamps = await self._open(key, manifest) or await self._fill(release, key, data, manifest)
        version = ModelVersion(release.name, release.version, lease.path, key, stamps)
        return LocalVersion(version, manifest.total_bytes, lease.close)

    async def close(self) -> None:
        """Close the connection to the container."""
        await self._on_close()

    async def _list(self) -> AsyncIterator[BlobProperties]:
        try:
            async for blob in self._blobs.list(self._prefix):
                yield blob
        except BlobUnreadable as exc:
            raise ModelUnavailable(f"The model repository cannot be read: {exc}.") from None

    async def _read_serving(self, name: str, etag: str) -> bytes | None:
        if (name, etag) in self._serving:
            return self._serving[name, etag]
        try:
            return await self._blobs.read_range(f"{self._prefix}{name}/{SERVING_NAME}", 0, MAX_SERVING_BYTES + 1)
        except BlobNotFound:
            return None

    async def _read_manifest(self, release: Release) -> bytes:
        name = self._name(release, MANIFEST_NAME)
        try:
            data = await self._blobs.read_range(name, 0, MAX_MANIFEST_BYTES + 1, if_match=release.revision)
        except (BlobNotFound, PreconditionFailed) as exc:
            raise ModelUnavailable(f"{MANIFEST_NAME}: it changed since the version was looked up.") from exc
        if len(data) > MAX_MANIFEST_BYTES:
            raise ModelUnavailable(f"{MANIFEST_NAME}: it is larger than {MAX_MANIFEST_BYTES} bytes.")
        return data

    async def _open(self, key: str, manifest: Manifest) -> _Opened | None:
        """Return the cache's entry, verified; one that is damaged is removed."""
        lease = await self._on_thread(lambda: self._cache.open(key))
        if lease is None:
            return None
        try:
            return lease, await self._on_thread(lambda: verify_files(lease.path, manifest))
        except ModelUnavailable:
            await self._on_thread(lambda: self._cache.discard(lease, key))
            return None
        except BaseException:
            lease.close()
            raise

    async def _fill(self, release: Release, key: str, data: bytes, manifest: Manifest) -> _Opened:
        """Stream the files into a folder of the cache, unless another process is doing so, and publish it there."""
        partial = await self._reserve(key, manifest)
        if isinstance(partial, tuple):
            return partial
        try:
            stamps = {
                name: await self._fetch_file(self._name(release, name), partial.path / name, digest)
                for name, digest in manifest.files.items()
            }
            await self._on_thread(lambda: _write_manifest(partial.path / MANIFEST_NAME, data))
            lease = await self._on_thread(lambda: self._cache.publish(partial, key))
        except BaseException:
            self._cache.abandon(partial)
            raise
        # Where another process was first after all, its files are the ones; equal, but not those that were stamped.
        return lease, stamps if lease is partial else await self._on_thread(lambda: verify_files(lease.path, manifest))

    async def _reserve(self, key: str, manifest: Manifest) -> Lease | _Opened:
        """Return a folder to fill, or the entry once another process has filled it."""
        for _ in range(int(_PATIENCE_SECONDS / _LOOK_SECONDS)):
            partial = await self._on_thread(lambda: self._cache.reserve(key, manifest.total_bytes))
            if partial is not None:
                return partial
            await asyncio.sleep(_LOOK_SECONDS)
            opened = await self._open(key, manifest)
            if opened is not None:
                return opened
        raise ModelUnavailable("another process takes too long to fetch it.")

    async def _fetch_file(self, name: str, path: Path, expected: FileDigest) -> FileStamp:
        with VerifiedFile(path, expected) as file:
            with _reading(path.name):
                async for chunk in self._blobs.stream(name):
                    await self._on_thread(functools.partial(file.write, chunk))
            return file.finish()

    def _name(self, release: Release, file: str) -> str:
        return f"{self._prefix}{release.name}/{release.version}/{file}"

    async def _on_thread[T](self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)


@contextmanager
def _reading(file: str) -> Iterator[None]:
    try:
        yield
    except BlobNotFound as exc:
        raise ModelUnavailable(f"{file}: it is missing.") from exc
    except PreconditionFailed as exc:
        raise ModelUnavailable(f"{file}: it changed while it was being fetched.") from exc


def _write_manifest(path: Path, data: bytes) -> None:
    with translate_full_disk():
        path.write_bytes(data)


@contextmanager
def _naming(release: Release) -> Iterator[None]:
    try:
        yield
    except (ModelUnavailable, InsufficientStorage, StorageUnavailable) as exc:
        raise type(exc)(f"{release}: {exc.message}", retry_after_seconds=exc.retry_after_seconds) from exc
