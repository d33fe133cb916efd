"""What the product asks of storage: blobs with ETags and a queue to send to, as protocols as small as used.

It refuses to name a vendor: `inference.storage.azure` holds the one implementation, tests hold a fake under the
same contract tests.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

#: The `if_match` of a write that must create the blob (HTTP `If-None-Match: *`).
ABSENT = ""


class BlobNotFound(Exception):
    """There is no blob of that name (or no container)."""


class PreconditionFailed(Exception):
    """The blob's ETag is not the one asked for: somebody else wrote it first."""


@dataclass(frozen=True, slots=True)
class BlobProperties:
    """What a listing says of a blob."""

    name: str
    etag: str
    bytes: int
    last_modified: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob read whole."""

    data: bytes
    properties: BlobProperties


class BlobStore(Protocol):
    """One container. Every method raises `StorageUnavailable` or `StorageForbidden` when storage itself fails."""

    async def read(self, name: str) -> Blob:
        """Return the whole blob. Raises BlobNotFound."""

    async def read_range(self, name: str, offset: int, length: int, *, if_match: str | None = None) -> bytes:
        """Return bytes [offset, offset + length). Raises BlobNotFound, PreconditionFailed."""

    def stream(self, name: str, *, if_match: str | None = None) -> AsyncIterator[bytes]:
        """Yield the blob in chunks of a few MiB at most. Raises BlobNotFound, PreconditionFailed."""

    async def properties(self, name: str) -> BlobProperties | None:
        """Return the blob's properties, or None when there is no such blob."""

    async def write(
        self,
        name: str,
        data: bytes,
        *,
        if_match: str | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str = "application/octet-stream",
    ) -> str:
        """Write the whole blob and return its ETag; `if_match=ABSENT` only creates. Raises PreconditionFailed."""

    async def write_stream(
        self,
        name: str,
        chunks: AsyncIterable[bytes],
        *,
        if_match: str | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str = "application/octet-stream",
    ) -> str:
        """Write chunks; nothing can be read at `name` before the last one is in. Raises PreconditionFailed."""

    def list(self, prefix: str) -> AsyncIterator[BlobProperties]:
        """Yield properties with metadata of the blobs whose names begin with `prefix`, in name order."""

    async def delete(self, name: str) -> None:
        """Delete the blob; one that is not there is no error."""


class MessageQueue(Protocol):
    """One queue to send to."""

    async def send(self, body: bytes, *, delay_seconds: float = 0) -> None:
        """Put a message that never expires, visible after `delay_seconds`, in the host's encoding (base64)."""

    async def approximate_count(self) -> int:
        """Return about how many messages wait or are being worked on."""
