"""A container of the account: reads, conditional writes and listings.

It refuses to hold more than a block of a stream in memory, to spend a call on whether a container exists, and to look
at a blob's Content-Encoding: bytes are what is stored. The SDK would unpack each range by itself, of any length.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import BlobBlock, ContentSettings
from azure.storage.blob import BlobProperties as SdkBlobProperties
from azure.storage.blob.aio import BlobClient, ContainerClient, StorageStreamDownloader

from inference.errors import StorageUnavailable
from inference.storage import ABSENT, Blob, BlobNotFound, BlobProperties, PreconditionFailed, check_blob_name
from inference.storage.azure.errors import (
    BlocksDiscarded,
    ContainerNotFound,
    RangeNotSatisfiable,
    read_error_code,
    translate_errors,
)
from inference.storage.azure.listing import list_blobs

#: What is read or staged at once. The service takes at most 50,000 blocks a blob: some 200 GB.
BLOCK_BYTES = 4 * 1024 * 1024


class AzureBlobStore:
    """A BlobStore over the SDK's client."""

    def __init__(self, container: ContainerClient) -> None:
        self._container = container

    async def read(self, name: str) -> Blob:
        """Return the whole blob."""
        check_blob_name(name)
        try:
            with translate_errors():
                download = await self._container.download_blob(name, decompress=False)
                return Blob(await download.readall(), _properties(download.properties))
        except PreconditionFailed as exc:  # only a blob of more than 32 MiB takes several requests
            raise StorageUnavailable("the blob was written while it was read") from exc

    async def read_range(self, name: str, offset: int, length: int, *, if_match: str | None = None) -> bytes:
        """Return bytes [offset, offset + length), fewer at the end, none past it."""
        if length == 0:
            return b""
        download = await self._download(name, offset, length, if_match)
        if download is None:
            return b""
        with translate_errors():
            return await download.readall()

    async def stream(self, name: str, *, if_match: str | None = None) -> AsyncIterator[bytes]:
        """Yield one version of the blob, a block at a time; each block is a request that is tried again alone."""
        offset = 0
        while (download := await self._download(name, offset, BLOCK_BYTES, if_match)) is not None:
            with translate_errors():
                block = await download.readall()
            yield block
            if len(block) < BLOCK_BYTES:
                return
            if_match = _unquoted(download.properties.etag)
            offset += BLOCK_BYTES

    async def properties(self, name: str) -> BlobProperties | None:
        """Return the blob's properties, or None when there is no such blob."""
        try:
            check_blob_name(name)
            with translate_errors():
                return _properties(await self._container.get_blob_client(name).get_blob_properties())
        except BlobNotFound:
            return None

    async def write(
        self,
        name: str,
        data: bytes,
        *,
        if_match: str | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str = "application/octet-stream",
    ) -> str:
        """Write the whole blob, in one request unless it is longer than a block, and return its ETag."""

        async def whole() -> AsyncIterator[bytes]:
            yield data

        return await self.write_stream(name, whole(), if_match=if_match, metadata=metadata, content_type=content_type)

    async def write_stream(
        self,
        name: str,
        chunks: AsyncIterable[bytes],
        *,
        if_match: str | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str = "application/octet-stream",
    ) -> str:
        """Stage blocks as they fill and commit them at the end, where the condition is checked."""
        blob = self._container.get_blob_client(check_blob_name(name))
        options = {
            "metadata": dict(metadata or {}),
            "content_settings": ContentSettings(content_type=content_type),
            **_write_condition(if_match),
        }
        async with aclosing(_blocks(chunks)) as blocks:
            first = await anext(blocks, b"")
            if len(first) < BLOCK_BYTES:
                return await self._put(blob, first, options)
            return await self._put_blocks(blob, first, blocks, options)

    def list(self, prefix: str) -> AsyncIterator[BlobProperties]:
        """Yield properties with metadata of the blobs whose names begin with `prefix`, in name order."""
        return list_blobs(self._container, prefix)

    async def delete(self, name: str) -> None:
        """Delete the blob; one that is not there is no error."""
        try:
            check_blob_name(name)
            with translate_errors():
                # Snapshots that somebody took go along; else storage refuses for as long as there is one.
                await self._container.delete_blob(name, delete_snapshots="include")
        except BlobNotFound:
            return

    async def _download(
        self, name: str, offset: int, length: int, if_match: str | None
    ) -> StorageStreamDownloader[bytes] | None:
        """Begin to read a range; None when the blob ends before it."""
        check_blob_name(name)
        condition = {} if if_match is None else _matching(if_match)
        try:
            with translate_errors():
                download: StorageStreamDownloader[bytes] = await self._container.download_blob(
                    name, offset, length, decompress=False, **condition
                )
        except RangeNotSatisfiable:
            return None
        return download

    async def _put(self, blob: BlobClient, data: bytes, options: Mapping[str, Any]) -> str:
        async def upload() -> Mapping[str, Any]:
            # Overwriting is what an unconditional write does; with a condition, the condition decides.
            return await blob.upload_blob(data, overwrite=True, **options)

        return _written_etag(await self._making_container(upload, options))

    async def _put_blocks(
        self, blob: BlobClient, first: bytes, rest: AsyncIterator[bytes], options: Mapping[str, Any]
    ) -> str:
        # Unlike the SDK's own block ids these differ from upload to upload, so that two writers of one blob
        # (two holders of one message) can never commit a mixture.
        upload_id = uuid.uuid4().hex
        staged = [BlobBlock(block_id=f"{upload_id}-{0:05d}")]
        await self._making_container(lambda: blob.stage_block(staged[0].id, first), options)
        async for block in rest:
            staged.append(BlobBlock(block_id=f"{upload_id}-{len(staged):05d}"))
            with _translate_write_errors(options):
                await blob.stage_block(staged[-1].id, block)
        with _translate_write_errors(options):
            return _written_etag(await blob.commit_block_list(staged, **options))

    async def _making_container[T](self, call: Callable[[], Awaitable[T]], options: Mapping[str, Any]) -> T:
        """Make a writing call; when it finds no container, make that and call again."""
        try:
            with _translate_write_errors(options):
                return await call()
        except ContainerNotFound:
            await self.create()
            with _translate_write_errors(options):
                return await call()

    async def create(self) -> None:
        """Make the container unless it is there."""
        with translate_errors():
            try:
                await self._container.create_container()
            except ResourceExistsError as exc:
                if read_error_code(exc) != "ContainerAlreadyExists":  # ContainerBeingDeleted: nothing to do but wait
                    raise


async def _blocks(chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
    """Cut chunks of any length in blocks of BLOCK_BYTES and a shorter last one."""
    waiting = bytearray()
    async for chunk in chunks:
        for start in range(0, len(chunk), BLOCK_BYTES):  # one huge chunk is never held twice
            waiting += chunk[start : start + BLOCK_BYTES]
            if len(waiting) >= BLOCK_BYTES:
                yield bytes(waiting[:BLOCK_BYTES])
                del waiting[:BLOCK_BYTES]
    if waiting:
        yield bytes(waiting)


@contextmanager
def _translate_write_errors(options: Mapping[str, Any]) -> Iterator[None]:
    """Translate, and judge what a blob or its blocks that are gone mean to this write."""
    try:
        with translate_errors():
            yield
    except ContainerNotFound:
        raise
    except (BlobNotFound, BlocksDiscarded) as exc:
        if "match_condition" in options:
            raise PreconditionFailed("the blob was deleted or written meanwhile") from exc
        raise StorageUnavailable("the blob was written meanwhile, so this write was lost") from exc


def _matching(etag: str) -> dict[str, Any]:
    return {"etag": f'"{etag}"', "match_condition": MatchConditions.IfNotModified}


def _write_condition(if_match: str | None) -> dict[str, Any]:
    if if_match is None:
        return {}
    return {"match_condition": MatchConditions.IfMissing} if if_match == ABSENT else _matching(if_match)


def _unquoted(etag: str) -> str:
    # Headers carry ETags in quotes, listings without.
    return etag.strip('"')


def _written_etag(reply: Mapping[str, Any]) -> str:
    return _unquoted(str(reply["etag"]))


def _properties(found: SdkBlobProperties) -> BlobProperties:
    return BlobProperties(found.name, _unquoted(found.etag), found.size, found.last_modified, found.metadata or {})
