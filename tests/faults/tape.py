"""What the app and its host did to storage, in order: the calls that Azurite carried out, with the messages' texts.

It refuses to judge; `tests.faults.invariants` does.
"""

from __future__ import annotations

import base64
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote, urlsplit
from xml.etree import ElementTree

_ACCOUNT = re.compile(r"^/[^/]+/")
_MESSAGE = re.compile(r"/messages/([^/?]+)")
_BATCH_OF_BLOB = re.compile(
    r"(?:results|deadletters|manifests/_data)/([a-z0-9][a-z0-9-]*)/|manifests/_batch/(.+)\.json$"
)
_BATCH_OF_TEXT = re.compile(r'"batch_id": ?"([a-z0-9-]+)"')


@dataclass(slots=True)
class Call:
    """One call, and once Azurite has answered it its place in the order of answers."""

    service: str
    upstream: str
    method: str
    #: Path and query, byte for byte.
    target: str
    #: Metadata that a write gives its blob.
    metadata: Mapping[str, str]
    #: The text of the queue message that is sent, released or deleted.
    text: str = ""
    status: int = 0
    #: A call that was answered has a larger one than all that were answered before it.
    number: float = -1
    #: The number of the next answer when the call came.
    begun: float = 0
    #: The texts of the messages that a receive handed out.
    received: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """`container/blob` or `queue/messages…`."""
        return unquote(_ACCOUNT.sub("", urlsplit(self.target).path))

    @property
    def batch_id(self) -> str:
        """The batch that it is about; empty when that cannot be told."""
        found = _BATCH_OF_TEXT.search(self.text) if self.service == "queue" else _BATCH_OF_BLOB.match(self.name)
        return next(filter(None, found.groups()), "") if found else ""

    @property
    def is_send(self) -> bool:
        """Whether it put a message on a queue."""
        return self.service == "queue" and self.method == "POST" and self.status == 201

    @property
    def is_acknowledgement(self) -> bool:
        """Whether it deleted a message."""
        return self.service == "queue" and self.method == "DELETE" and self.status == 204

    @property
    def queue(self) -> str:
        """The queue that it is about."""
        return self.name.partition("/")[0] if self.service == "queue" else ""

    @property
    def is_whole_write(self) -> bool:
        """Whether this made a blob readable: a put of all of it, or of its list of blocks."""
        return (
            self.service == "blob" and self.method == "PUT" and self.status == 201 and "comp=block&" not in self.query
        )

    @property
    def query(self) -> str:
        """The query, ending in `&` so that a parameter can be told by `name=value&`."""
        return urlsplit(self.target).query + "&"


class Tape:
    """The calls since the beginning, in the order in which Azurite answered them."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        #: Names of the blobs that were made readable, `container/blob`.
        self.written: set[str] = set()
        self._by_batch: defaultdict[str, list[Call]] = defaultdict(list)
        self._texts: dict[str, str] = {}
        #: Ids of the messages that a send is known of.
        self._sent: set[str] = set()
        #: Blobs that a write is known of, with the ETag that it gave them. The ETag alone does not tell: Azurite's is
        #: the millisecond times one of 30,000 numbers.
        self._versions: set[tuple[str, str]] = set()
        self._next = 0

    def about(self, batch_id: str) -> list[Call]:
        """Return the calls about one batch."""
        return self._by_batch[batch_id]

    def begin(
        self, service: str, upstream: str, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Call:
        """Note a call that has come."""
        call = Call(service, upstream, method, target, _metadata_of(headers), begun=self._next)
        if service == "queue":
            message = _MESSAGE.search(target)
            call.text = self._texts.get(unquote(message[1]), "") if message else _read_text(body)
        return call

    def end(self, call: Call, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Note that Azurite answered it; a call may be carried out twice.

        A message may be received, and a blob read, before the answer to the call that made it, or although there is
        none, since Azurite was stopped between doing it and saying so: that call then stands before the one that
        shows it.
        """
        call = replace(call, status=status, received=[])
        if call.service == "blob":
            self._end_blob(call, headers, body)
        else:
            self._end_queue(call, body)

    def _end_blob(self, call: Call, headers: Mapping[str, str], body: bytes) -> None:
        if call.method == "PUT":
            version = call.name, headers.get("ETag", "").strip('"')
            is_news = version not in self._versions
            self._versions.add(version)
            if call.is_whole_write and not is_news:
                return
        for name, etag, metadata in _shown(call, headers, body):
            if (name, etag) not in self._versions:
                self._versions.add((name, etag))
                account = urlsplit(call.target).path.split("/")[1]
                write = Call("blob", call.upstream, "PUT", f"/{account}/{quote(name)}", metadata, status=201)
                self._insert(write, since=call.begun)
        self._append(call)

    def _end_queue(self, call: Call, body: bytes) -> None:
        if "/messages" in call.target and call.status in {200, 201}:
            for message in ElementTree.fromstring(body).iterfind("QueueMessage"):  # noqa: S314 -- Azurite wrote it
                message_id = message.findtext("MessageId", "")
                is_news = message_id not in self._sent
                self._sent.add(message_id)
                if call.is_send and not is_news:
                    return
                if call.method == "GET":
                    text = self._texts[message_id] = _decode(message.findtext("MessageText", ""))
                    call.received.append(text)
                    if is_news:
                        self._append(replace(call, method="POST", status=201, text=text, received=[]))
        self._append(call)

    def _append(self, call: Call) -> None:
        call.number = self._next
        self._next += 1
        self.calls.append(call)
        if call.is_whole_write:
            self.written.add(call.name)
        self._by_batch[call.batch_id].append(call)

    def _insert(self, write: Call, *, since: float) -> None:
        """Note a write that a call has shown which came then: what was answered since may have replaced it."""
        answered = (call for call in self.calls if call.number >= since)
        later = next((call for call in answered if call.is_whole_write and call.name == write.name), None)
        if later is None:
            self._append(write)
            return
        write.number = later.number - 0.5
        for calls in (self.calls, self._by_batch[write.batch_id]):
            calls.insert(calls.index(later), write)


def _shown(call: Call, headers: Mapping[str, str], body: bytes) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    """Yield the blobs that a read or a listing has shown: `container/blob`, its ETag, its metadata."""
    if call.method not in {"GET", "HEAD"} or call.status not in {200, 206}:
        return
    if "comp=list&" in call.query:
        if "metadata" not in call.query:
            return
        for blob in ElementTree.fromstring(body).iterfind("Blobs/Blob"):  # noqa: S314 -- Azurite wrote it
            metadata = {entry.tag: entry.text or "" for entry in blob.iterfind("Metadata/*")}
            etag = blob.findtext("Properties/Etag", "").strip('"')
            yield f"{call.name}/{blob.findtext('Name', '')}", etag, metadata
    elif "comp=" not in call.query and "restype=" not in call.query:
        yield call.name, headers.get("ETag", "").strip('"'), _metadata_of(headers)


def _metadata_of(headers: Mapping[str, str]) -> dict[str, str]:
    prefix = "x-ms-meta-"
    found = {name.lower(): value for name, value in headers.items() if name.lower().startswith(prefix)}
    return {name.removeprefix(prefix): value for name, value in found.items()}


def _read_text(body: bytes) -> str:
    try:
        return _decode(ElementTree.fromstring(body).findtext("MessageText", ""))  # noqa: S314 -- an SDK wrote it
    except ElementTree.ParseError:
        return ""


def _decode(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except ValueError:
        return text
