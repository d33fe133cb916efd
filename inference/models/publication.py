"""Publishing a version to a blob container and taking one back, in the order that never shows half of it.

A version is published while its manifest is there: so the manifest is uploaded last and removed first. It refuses to
write over a published version: versions are immutable, and a new one costs nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from inference.errors import ModelUnavailable, ModelVersionNotFound
from inference.models.manifest import MANIFEST_NAME, check_sizes, parse_manifest, read_manifest_bytes, verify_files
from inference.storage import ABSENT, BlobNotFound, BlobStore, PreconditionFailed

_CHUNK_BYTES = 1 << 20


class VersionExists(Exception):
    """Another version is published under this number."""


async def publish_version(
    folder: Path, blobs: BlobStore, prefix: str, on_bytes: Callable[[int], None] = lambda _: None
) -> bool:
    """Upload a version's folder as `{prefix}NAME/VERSION/`, its last two names; return whether there was need to.

    Files of an upload that was interrupted are written again. Raises ModelUnavailable when the folder is not what its
    manifest says, VersionExists, and what storage raises.
    """
    data = read_manifest_bytes(folder)
    manifest = parse_manifest(data)
    check_sizes(manifest)
    verify_files(folder, manifest)
    base = f"{prefix}{folder.parent.name}/{folder.name}/"
    if await _is_published(blobs, base, data):
        return False
    for name in manifest.files:
        await blobs.write_stream(base + name, _read_chunks(folder / name, on_bytes))
    try:
        await blobs.write(base + MANIFEST_NAME, data, if_match=ABSENT, content_type="application/json")
    except PreconditionFailed as exc:
        # Our own lost reply, or somebody else who published meanwhile.
        if not await _is_published(blobs, base, data):
            raise VersionExists from exc
    return True


async def remove_version(blobs: BlobStore, prefix: str, name: str, version: str) -> None:
    """Take a version back and delete its files. Raises ModelVersionNotFound when there is nothing of it."""
    base = f"{prefix}{name}/{version}/"
    names = [blob.name async for blob in blobs.list(base)]
    if not names:
        raise ModelVersionNotFound(f"Model {name} has no version {version}.")
    await blobs.delete(base + MANIFEST_NAME)
    for blob in names:
        await blobs.delete(blob)


def remove_version_folder(repository: Path, name: str, version: str) -> None:
    """Take a version on disk back and delete its files. Raises ModelVersionNotFound, ModelUnavailable."""
    folder = repository / name / version
    if folder.is_symlink() or not folder.is_dir():
        raise ModelVersionNotFound(f"Model {name} has no version {version}.")
    try:
        (folder / MANIFEST_NAME).unlink(missing_ok=True)
        shutil.rmtree(folder)
        if not any(folder.parent.iterdir()):
            folder.parent.rmdir()
    except OSError as exc:
        raise ModelUnavailable(f"{name}:{version} cannot be removed: {exc.strerror}.") from exc


async def _is_published(blobs: BlobStore, base: str, manifest: bytes) -> bool:
    try:
        published = (await blobs.read(base + MANIFEST_NAME)).data
    except BlobNotFound:
        return False
    if published != manifest:
        raise VersionExists
    return True


async def _read_chunks(path: Path, on_bytes: Callable[[int], None]) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
            on_bytes(len(chunk))
