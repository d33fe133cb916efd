"""What the product asks of storage: blobs with ETags and a queue to send to, as protocols as small as used.

It refuses to name a vendor: `inference.storage.azure` holds the one implementation, tests hold a fake under the
same contract tests.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from datetime import datetime
from typing import Protocol

from msgspec import Struct, field

from inference.errors import StorageForbidden
from inference.settings import MAX_DELAY_SECONDS as MAX_DELAY_SECONDS

#: The `if_match` of a write that must create the blob (HTTP `If-None-Match: *`).
ABSENT = ""

#: The longest body of a queue message: 64 KiB on the wire, of which base64 takes a quarter.
MAX_MESSAGE_BYTES = 48 * 1024

#: The longest blob name of the service.
MAX_BLOB_NAME_CHARACTERS = 1024

#: Control characters, a backslash, a lone surrogate, or a segment that is one or two dots.
_UNSAFE_NAME = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]|(?:^|/)\.{1,2}(?:/|$)")


class BlobNotFound(Exception):
    """There is no blob of that name (or no container)."""


class BlobUnreadable(BlobNotFound):
    """There is a blob, or might be, but the service never gives it to us: it is archived, or its name is impossible."""


class InvalidBlobName(BlobNotFound, ValueError):
    """No blob can have this name, so none has."""


class BlobForbidden(StorageForbidden):
    """Storage knows this service's identity, and no role of it allows this: to the account, container or blob."""


class PreconditionFailed(Exception):
    """The blob's ETag is not the one asked for: somebody else wrote it first, or we did and the reply was lost."""


class BlobProperties(Struct, frozen=True):
    """What a listing says of a blob."""

    name: str
    etag: str
    bytes: int
    last_modified: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)


class Blob(Struct, frozen=True):
    """A blob read whole."""

    data: bytes
    properties: BlobProperties


def check_blob_name(name: str) -> str:
    """Return `name` if a blob can have it and a url carries it unchanged. Raises InvalidBlobName.

    A url drops the segments `.` and `..` (and so could leave the container); a backslash becomes a slash.
    """
    if not 0 < len(name) <= MAX_BLOB_NAME_CHARACTERS or _UNSAFE_NAME.search(name):
        raise InvalidBlobName("no blob can have this name")
    return name


class BlobStore(Protocol):
    """One container, made by the first write to it when it is missing.

    Every method raises `StorageUnavailable` or `StorageForbidden` when storage itself fails. ETags are opaque and
    equal wherever the same version of a blob is met. Metadata keys are lower-case identifiers, values printable ASCII.
    """

    async def read(self, name: str) -> Blob:
        """Return the whole blob. Raises BlobNotFound."""

    async def read_range(self, name: str, offset: int, length: int, *, if_match: str | None = None) -> bytes:
        """Return bytes [offset, offset + length), fewer at the end, none past it.

        Raises BlobNotFound, PreconditionFailed.
        """

    def stream(self, name: str, *, if_match: str | None = None) -> AsyncIterator[bytes]:
        """Yield one version of the blob in chunks of a few MiB at most.

        Raises BlobNotFound, and PreconditionFailed also when the blob is written while it is read.
        """

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
        """Write chunks and return the ETag; nothing can be read at `name` before the last one is in.

        Memory stays at a few MiB however much is written. Raises PreconditionFailed.
        """

    def list(self, prefix: str) -> AsyncIterator[BlobProperties]:
        """Yield properties with metadata of the blobs whose names begin with `prefix`, in name order."""

    async def delete(self, name: str) -> None:
        """Delete the blob; one that is not there is no error."""


class MessageQueue(Protocol):
    """One queue to send to."""

    async def send(self, body: bytes, *, delay_seconds: float = 0) -> None:
        """Put a message that never expires, in the host's encoding (base64), visible after `delay_seconds`.

        The delay is rounded up to whole seconds. Raises ValueError past MAX_MESSAGE_BYTES or MAX_DELAY_SECONDS. The
        queue is made when it is missing. The message can arrive twice: a lost reply is tried again.
        """

    async def approximate_count(self) -> int:
        """Return about how many messages wait or are being worked on."""


class HiddenMessage(Struct, frozen=True):
    """A message whose delay can be ended by who sent it, as long as nobody has received it."""

    id: str
    pop_receipt: str


class HidingQueue(MessageQueue, Protocol):
    """One queue to send to whose messages can be hidden until something else is done."""

    async def send_hidden(self, body: bytes, *, delay_seconds: float) -> HiddenMessage:
        """Put a message as `send` does, for `show` to end its delay."""

    async def show(self, message: HiddenMessage) -> bool:
        """End the delay of a message; False when that is over, or the message is gone."""
