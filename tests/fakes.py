"""Real little implementations of the storage protocols, held to the same contract tests as Azure's.

They keep everything in memory and read a clock that only tests move. They refuse to be lenient: what the service
would not take (names, metadata, sizes), they do not take either.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from inference.storage import (
    ABSENT,
    MAX_DELAY_SECONDS,
    MAX_MESSAGE_BYTES,
    Blob,
    BlobNotFound,
    BlobProperties,
    HiddenMessage,
    PreconditionFailed,
    check_blob_name,
)

#: The lease of the Functions host on a message it received: a constant of the queue trigger.
HOST_LEASE_SECONDS = 600

_METADATA_KEY = re.compile(r"[a-z_][a-z0-9_]*")
_CHUNK_BYTES = 4 * 1024 * 1024


class Crash(BaseException):
    """The process died here. Not an Exception: no code of the product may catch it and carry on."""


class FakeClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed = timedelta()

    def now(self) -> datetime:
        """Return the time of day, in UTC."""
        return self._start + self._elapsed

    def time(self) -> float:
        """Return the time of day as seconds since the epoch."""
        return self.now().timestamp()

    def monotonic(self) -> float:
        """Return seconds since this clock was made."""
        return self._elapsed.total_seconds()

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self._elapsed += timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class Call:
    """One call to storage, as the hooks of FakeStorage see it."""

    number: int
    #: `blobs.write`, `queue.send`, ...: kind of store and method.
    method: str
    #: The container or the queue.
    store: str
    #: The blob or prefix; empty for queues.
    name: str = ""


Hook = Callable[[Call], None]


def _ignore(call: Call) -> None:
    return


class FakeStorage:
    """An account: its containers and queues, every call to them counted from 1 and shown to two hooks.

    What `before_call` raises replaces the call; what `after_call` raises replaces its reply, the work being done.
    """

    def __init__(self, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.calls: list[Call] = []
        self.before_call: Hook = _ignore
        self.after_call: Hook = _ignore
        self._containers: dict[str, FakeBlobStore] = {}
        self._queues: dict[str, FakeQueue] = {}

    def blobs(self, container: str) -> FakeBlobStore:
        """Return the container, the same one each time."""
        return self._containers.setdefault(container, FakeBlobStore(container, self))

    def queue(self, name: str) -> FakeQueue:
        """Return the queue, the same one each time."""
        return self._queues.setdefault(name, FakeQueue(name, self))

    @property
    def blob_endpoint(self) -> str:
        """The url that the urls of the account's blobs would begin with."""
        return "https://fake.blob.core.windows.net"

    @property
    def queues(self) -> Mapping[str, FakeQueue]:
        """Every queue that was ever asked for, by name."""
        return self._queues

    async def close(self) -> None:
        """Do nothing: there is no connection to close."""

    def crash_before(self, number: int) -> None:
        """Die in place of the call of that number, and of every one after it."""
        self.before_call = lambda call: _crash_from(number, call)

    def crash_after(self, number: int) -> None:
        """Die when the call of that number is done and before its reply is seen; every later call dies too."""
        self.crash_before(number + 1)
        self.after_call = lambda call: _crash_from(number, call)

    def restart(self) -> None:
        """Take the hooks out and count from 1 again; what is stored stays."""
        self.before_call = self.after_call = _ignore
        self.calls.clear()

    async def enter(self, method: str, store: str, name: str = "") -> Call:
        """Count a call and let other tasks run, as every real call would."""
        await asyncio.sleep(0)
        call = Call(len(self.calls) + 1, method, store, name)
        self.calls.append(call)
        self.before_call(call)
        return call


def _crash_from(number: int, call: Call) -> None:
    if call.number >= number:
        raise Crash(f"at call {call.number}: {call.method} {call.store}/{call.name}")


@dataclass(frozen=True, slots=True)
class _StoredBlob:
    data: bytes
    etag: str
    last_modified: datetime
    metadata: Mapping[str, str]
    content_type: str

    def properties(self, name: str) -> BlobProperties:
        return BlobProperties(name, self.etag, len(self.data), self.last_modified, dict(self.metadata))


class FakeBlobStore:
    """One container in memory."""

    def __init__(self, container: str, storage: FakeStorage | None = None) -> None:
        self.container = container
        self._storage = storage or FakeStorage()
        self._blobs: dict[str, _StoredBlob] = {}
        self._versions = 0

    @property
    def contents(self) -> dict[str, bytes]:
        """Every blob's bytes by name, in name order; looking is no call."""
        return {name: self._blobs[name].data for name in sorted(self._blobs)}

    def content_type(self, name: str) -> str:
        """Return the media type that the blob was written with; looking is no call."""
        return self._blobs[name].content_type

    async def read(self, name: str) -> Blob:
        """Return the whole blob."""
        call = await self._enter("read", name)
        stored = self._find(name)
        self._storage.after_call(call)
        return Blob(stored.data, stored.properties(name))

    async def read_range(self, name: str, offset: int, length: int, *, if_match: str | None = None) -> bytes:
        """Return bytes [offset, offset + length), fewer at the end."""
        call = await self._enter("read_range", name)
        stored = self._find(name, if_match)
        self._storage.after_call(call)
        return stored.data[offset : offset + length]

    async def stream(self, name: str, *, if_match: str | None = None) -> AsyncIterator[bytes]:
        """Yield the blob in chunks; each is a call of its own, as over the network."""
        offset = 0
        while True:
            call = await self._enter("stream", name)
            stored = self._find(name, if_match)
            self._storage.after_call(call)
            if chunk := stored.data[offset : offset + _CHUNK_BYTES]:
                yield chunk
            offset += _CHUNK_BYTES
            if_match = stored.etag
            if offset >= len(stored.data):
                return

    async def properties(self, name: str) -> BlobProperties | None:
        """Return the blob's properties, or None when there is no such blob."""
        call = await self._enter("properties", name)
        stored = self._blobs.get(name)
        self._storage.after_call(call)
        return stored.properties(name) if stored else None

    async def write(
        self,
        name: str,
        data: bytes,
        *,
        if_match: str | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str = "application/octet-stream",
    ) -> str:
        """Write the whole blob and return its ETag."""
        check_blob_name(name)
        call = await self._enter("write", name)
        etag = self._put(name, bytes(data), if_match, metadata, content_type)
        self._storage.after_call(call)
        return etag

    async def write_stream(
        self,
        name: str,
        chunks: AsyncIterable[bytes],
        *,
        if_match: str | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str = "application/octet-stream",
    ) -> str:
        """Write chunks; the condition is checked, and the blob seen, when the last one is in."""
        check_blob_name(name)
        data = b"".join([chunk async for chunk in chunks])
        call = await self._enter("write_stream", name)
        etag = self._put(name, data, if_match, metadata, content_type)
        self._storage.after_call(call)
        return etag

    async def list(self, prefix: str) -> AsyncIterator[BlobProperties]:
        """Yield properties of the blobs whose names begin with `prefix`, in name order."""
        call = await self._enter("list", prefix)
        found = [self._blobs[name].properties(name) for name in sorted(self._blobs) if name.startswith(prefix)]
        self._storage.after_call(call)
        for properties in found:
            yield properties

    async def delete(self, name: str) -> None:
        """Delete the blob; one that is not there is no error."""
        call = await self._enter("delete", name)
        self._blobs.pop(name, None)
        self._storage.after_call(call)

    async def _enter(self, method: str, name: str) -> Call:
        return await self._storage.enter(f"blobs.{method}", self.container, name)

    def _find(self, name: str, if_match: str | None = None) -> _StoredBlob:
        check_blob_name(name)
        stored = self._blobs.get(name)
        if stored is None:
            raise BlobNotFound(name)
        if if_match is not None and if_match != stored.etag:
            raise PreconditionFailed(name)
        return stored

    def _put(
        self, name: str, data: bytes, if_match: str | None, metadata: Mapping[str, str] | None, content_type: str
    ) -> str:
        for key, value in (metadata or {}).items():
            if not _METADATA_KEY.fullmatch(key) or not (value.isascii() and value.isprintable()):
                raise ValueError(f"the service refuses metadata {key}={value!r}")
        stored = self._blobs.get(name)
        if if_match is not None and if_match != (stored.etag if stored else ABSENT):
            raise PreconditionFailed(name)
        self._versions += 1
        etag = f"0x8DE{self._versions:012X}"
        self._blobs[name] = _StoredBlob(data, etag, self._storage.clock.now(), dict(metadata or {}), content_type)
        return etag


class MessageGone(Exception):
    """The message was deleted, or the pop receipt is not its last: somebody else received it since."""


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """One receipt of a message, as the host sees it."""

    id: str
    body: bytes
    dequeue_count: int
    pop_receipt: str


@dataclass(slots=True)
class _QueuedMessage:
    id: str
    body: bytes
    visible_at: datetime
    dequeue_count: int = 0
    pop_receipt: str = ""


@dataclass
class FakeQueue:
    """One queue in memory: what the product sends to, and what the host does with the messages."""

    name: str
    storage: FakeStorage = field(default_factory=FakeStorage)
    _messages: dict[str, _QueuedMessage] = field(default_factory=dict)
    _made: int = 0

    @property
    def bodies(self) -> list[bytes]:
        """The bodies of all messages, waiting or leased, oldest first; looking is no call."""
        return [message.body for message in self._messages.values()]

    @property
    def next_visible_at(self) -> datetime | None:
        """When the next message can be received (perhaps already), or None when there is none."""
        return min((message.visible_at for message in self._messages.values()), default=None)

    async def send(self, body: bytes, *, delay_seconds: float = 0) -> None:
        """Put a message, visible after `delay_seconds` rounded up to whole seconds."""
        await self.send_hidden(body, delay_seconds=delay_seconds)

    async def send_hidden(self, body: bytes, *, delay_seconds: float) -> HiddenMessage:
        """Put a message whose delay `show` can end."""
        if len(body) > MAX_MESSAGE_BYTES or not 0 <= delay_seconds <= MAX_DELAY_SECONDS:
            raise ValueError(f"the service refuses a message of {len(body)} bytes delayed {delay_seconds} s")
        call = await self.storage.enter("queue.send", self.name)
        message = self.put(body, math.ceil(delay_seconds))
        self.storage.after_call(call)
        return message

    async def show(self, message: HiddenMessage) -> bool:
        """End the delay of a message that nobody has received."""
        call = await self.storage.enter("queue.show", self.name)
        found = self._messages.get(message.id)
        is_there = found is not None and found.pop_receipt == message.pop_receipt
        if found is not None and is_there:
            self._hide(found, 0)
        self.storage.after_call(call)
        return is_there

    async def approximate_count(self) -> int:
        """Return how many messages there are, hidden ones included."""
        call = await self.storage.enter("queue.approximate_count", self.name)
        count = len(self._messages)
        self.storage.after_call(call)
        return count

    def put(self, body: bytes, delay_seconds: float = 0) -> HiddenMessage:
        """Put a message as some other program would; this is no call of the product."""
        self._made += 1
        identity = f"{self.name}-{self._made}"
        visible_at = self.storage.clock.now() + timedelta(seconds=delay_seconds)
        self._messages[identity] = _QueuedMessage(identity, bytes(body), visible_at)
        return HiddenMessage(identity, "")

    def receive(self, lease_seconds: float = HOST_LEASE_SECONDS) -> ReceivedMessage | None:
        """Lease the oldest visible message, which counts, or return None."""
        now = self.storage.clock.now()
        visible = (message for message in self._messages.values() if message.visible_at <= now)
        message = min(visible, key=lambda found: found.visible_at, default=None)
        if message is None:
            return None
        message.dequeue_count += 1
        self._hide(message, lease_seconds)
        return ReceivedMessage(message.id, message.body, message.dequeue_count, message.pop_receipt)

    def renew(self, received: ReceivedMessage, lease_seconds: float = HOST_LEASE_SECONDS) -> ReceivedMessage:
        """Lease the message for longer, under a new pop receipt. Raises MessageGone."""
        message = self._held(received)
        self._hide(message, lease_seconds)
        return ReceivedMessage(message.id, message.body, message.dequeue_count, message.pop_receipt)

    def release(self, received: ReceivedMessage, delay_seconds: float = 0) -> None:
        """Give the message back, visible after `delay_seconds`: the host's answer to a failure. Raises MessageGone."""
        self._hide(self._held(received), delay_seconds)

    def delete(self, received: ReceivedMessage) -> None:
        """Delete the message: the host's answer to success. Raises MessageGone."""
        del self._messages[self._held(received).id]

    def move_to_poison(self, received: ReceivedMessage) -> FakeQueue:
        """Copy the bare body to `<name>-poison`, then delete, as the host does when it gives up on a message.

        Id, dequeue count and error are lost on the way (QueueProcessor.cs of azure-webjobs-sdk).
        """
        poison = self.storage.queue(f"{self.name}-poison")
        poison.put(received.body)
        self.delete(received)
        return poison

    def _hide(self, message: _QueuedMessage, seconds: float) -> None:
        self._made += 1
        message.pop_receipt = f"receipt-{self._made}"
        message.visible_at = self.storage.clock.now() + timedelta(seconds=seconds)

    def _held(self, received: ReceivedMessage) -> _QueuedMessage:
        message = self._messages.get(received.id)
        if message is None or message.pop_receipt != received.pop_receipt:
            raise MessageGone(received.id)
        return message
