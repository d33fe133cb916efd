"""Owns the finding of what a manifest message names: its own images, a blob, or every image under a prefix.

It refuses other accounts, other schemes and the service's own names.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import batched
from pathlib import PurePosixPath
from urllib.parse import quote

from msgspec import Struct

from inference.batch.account import Account
from inference.batch.manifest import Item, read_item, read_items
from inference.batch.messages import ManifestMessage, digest
from inference.errors import InvalidManifest, ManifestNotFound, StorageUnavailable
from inference.storage import BlobNotFound, BlobStore, BlobUnreadable, PreconditionFailed

#: Items parsed between two turns of the event loop.
_ITEMS_AT_ONCE = 500
#: What counts as an image when a prefix stands for a manifest; the decoder has the last word on each.
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"})


class Source(Struct, frozen=True):
    """A manifest ready to be read, once or again."""

    key: str
    items: Callable[[], AsyncIterator[list[Item]]]
    #: Whether `key` changes when what is read changes; that of a listing stays.
    is_fixed: bool = True


async def open_source(message: ManifestMessage, manifests: BlobStore, account: Account | None) -> Source:
    """Return the source that `message` names.

    Raises InvalidManifest, ManifestNotFound, and StorageUnavailable when the blob changes while it is read.
    """
    if message.images is not None:
        images = message.images
        return Source(message.key, lambda: read_images(images))
    pointer = message.manifest or ""
    if "://" not in pointer:
        return await _open_blob(message.key, manifests, _check_path(pointer))
    if account is None or not account.owns(pointer):
        raise InvalidManifest("manifest: the url is not one of the app's own storage account.")
    try:
        container, path = account.locate(pointer)
    except ValueError:
        raise InvalidManifest("manifest: the url of a blob of the app's own account, without a query.") from None
    store = account.container(container)
    if pointer.endswith("/"):
        if container == "manifests":
            _check_path(path.rstrip("/"))
        base = f"{account.blob_url}/{container}/"
        return Source(message.key, lambda: _list_images(store, path, base), is_fixed=False)
    return await _open_blob(message.key, store, _check_path(path) if container == "manifests" else path)


async def read_images(images: list[object]) -> AsyncIterator[list[Item]]:
    """Yield the items of a manifest's own images. Raises InvalidManifest for one that is none."""
    for some in batched(enumerate(images), _ITEMS_AT_ONCE, strict=False):
        yield [read_item(value, f"images.{index}") for index, value in some]
        await asyncio.sleep(0)


def _check_path(path: str) -> str:
    if path.startswith(("_", "/")) or path.endswith("/"):
        raise InvalidManifest("manifest: a path in the container manifests that does not begin with _ or a slash.")
    return path


async def _open_blob(key: str, store: BlobStore, path: str) -> Source:
    found = await store.properties(path)
    if found is None:
        raise ManifestNotFound
    etag = found.etag
    return Source(digest([key, etag])[:16], lambda: _read_blob(store, path, etag))


async def _read_blob(store: BlobStore, path: str, etag: str) -> AsyncIterator[list[Item]]:
    try:
        async for items in read_items(store.stream(path, if_match=etag)):
            yield items
    except PreconditionFailed:
        raise StorageUnavailable("The manifest changed while it was read.") from None
    except BlobUnreadable as exc:
        raise ManifestNotFound(f"The manifest cannot be read: {exc}.") from None
    except BlobNotFound:
        raise ManifestNotFound from None


async def _list_images(store: BlobStore, prefix: str, base: str) -> AsyncIterator[list[Item]]:
    some: list[Item] = []
    async for blob in store.list(prefix):
        if PurePosixPath(blob.name).suffix.lower() in IMAGE_SUFFIXES:
            some.append((blob.name[-256:], base + quote(blob.name)))
        if len(some) >= _ITEMS_AT_ONCE:
            yield some
            some = []
    yield some
