"""Owns the reading of dead letters, of items and of messages: by batch, code, time and limit, page by page.

It refuses to change any.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from datetime import datetime
from typing import Any, Self

import orjson
from msgspec import Struct
from msgspec.structs import replace

from inference.batch import layout
from inference.batch.callbacks import redact_callback
from inference.batch.concurrency import STORAGE_CALLS, for_each
from inference.errors import InvalidRequest
from inference.redaction import OMITTED, redact_text
from inference.storage import BlobNotFound, BlobProperties, BlobStore

#: Dead letters read at once: what a page holds at most.
_LETTERS_AT_ONCE = 1000


class Place(Struct, frozen=True):
    """Where a dead letter stands: its blob, and its line there."""

    name: str
    line: int

    def encode(self) -> str:
        """Return the token of the page after this dead letter."""
        return f"{self.name}:{self.line}"

    @classmethod
    def decode(cls, token: str) -> Self:
        """Read a token. Raises InvalidRequest."""
        name, separator, line = token.rpartition(":")
        if not separator or not line.isdecimal() or len(token) > 200:
            raise InvalidRequest("next: not a token that this service gave.")
        return cls(name, int(line))


class DeadLetterFilter(Struct, frozen=True):
    """Which dead letters are meant; nothing given means all."""

    batch_id: str | None = None
    code: str | None = None
    #: Those whose last attempt was at or after this time; it has a time zone.
    since: datetime | None = None
    limit: int | None = None
    #: Those after this token of an earlier page.
    after: str | None = None

    def __post_init__(self) -> None:
        if self.batch_id is not None and not layout.is_batch_id(self.batch_id):
            raise InvalidRequest("batch_id: not the id of a batch.")
        if self.code == "":
            raise InvalidRequest("code: empty.")
        if self.since is not None and self.since.tzinfo is None:
            raise InvalidRequest("since: a time zone is missing.")
        if self.limit is not None and self.limit < 1:
            raise InvalidRequest("limit: 1 or more.")

    def takes(self, letter: dict[str, Any]) -> bool:
        """Tell whether a dead letter is meant."""
        if self.code is not None and letter["code"] != self.code:
            return False
        return self.since is None or datetime.fromisoformat(letter["last_at"]) >= self.since


class DeadLetterPage(Struct, frozen=True):
    """Some dead letters, and the token of the next ones when there may be more."""

    records: list[dict[str, Any]]
    next: str | None


class DeadLetterReader:
    """Reads the container `deadletters`, of which it holds some blobs at a time."""

    def __init__(self, deadletters: BlobStore) -> None:
        self._deadletters = deadletters

    async def page(self, wanted: DeadLetterFilter, max_records: int) -> DeadLetterPage:
        """Return the next page, `max_records` long at most."""
        limit = min(wanted.limit or max_records, max_records)
        records: list[dict[str, Any]] = []
        last: Place | None = None
        async for place, letter in self.read(replace(wanted, limit=limit + 1)):
            if len(records) == limit:
                return DeadLetterPage(records, last.encode() if last else None)
            records.append(_shown(letter))
            last = place
        return DeadLetterPage(records, None)

    async def read(self, wanted: DeadLetterFilter) -> AsyncIterator[tuple[Place, dict[str, Any]]]:
        """Yield the dead letters that are meant, each with its place, in order of blob and line."""
        after = Place.decode(wanted.after) if wanted.after else None
        found = 0
        blobs = (blob async for blob in self.blobs(wanted) if after is None or blob.name >= after.name)
        async for blob, letters in self.contents(blobs, wanted.limit):
            start = after.line + 1 if after and blob.name == after.name else 0
            for line, letter in enumerate(letters):
                if line >= start and wanted.takes(letter):
                    yield Place(blob.name, line), letter
                    found += 1
                    if found == wanted.limit:
                        return

    async def blobs(self, wanted: DeadLetterFilter) -> AsyncIterator[BlobProperties]:
        """Yield the blobs that may hold what is meant, in order of name."""
        prefixes = [""]
        if wanted.batch_id:
            prefixes = [f"{layout.BURIED_MESSAGES}{wanted.batch_id}.", layout.dead_letters(wanted.batch_id)]
            if wanted.batch_id[0].isdecimal():  # "_" sorts between digits and letters
                prefixes.reverse()
        for prefix in prefixes:
            async for blob in self._deadletters.list(prefix):
                if wanted.code is None or wanted.code in orjson.loads(blob.metadata.get("codes", "{}")):
                    yield blob

    async def contents(
        self, blobs: AsyncIterable[BlobProperties], limit: int | None
    ) -> AsyncIterator[tuple[BlobProperties, list[dict[str, Any]]]]:
        """Yield each blob with its dead letters, in order, of which `limit` are wanted.

        Several are read at once: there may be thousands, with one dead letter each, and somebody waits for the reply.
        """
        async for group in _groups(blobs, min(limit or _LETTERS_AT_ONCE, _LETTERS_AT_ONCE)):
            for blob, letters in zip(group, await self._read_all(group), strict=True):
                yield blob, letters

    async def _read_all(self, group: list[BlobProperties]) -> list[list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}

        async def read(blob: BlobProperties) -> None:
            found[blob.name] = await self.letters(blob.name)

        await for_each(group, read)
        return [found[blob.name] for blob in group]

    async def letters(self, name: str) -> list[dict[str, Any]]:
        """Return the dead letters of one blob; none when it was deleted since it was listed."""
        try:
            blob = await self._deadletters.read(name)
        except BlobNotFound:
            return []
        return [orjson.loads(line) for line in blob.data.splitlines()]


async def _groups(blobs: AsyncIterable[BlobProperties], letters: int) -> AsyncIterator[list[BlobProperties]]:
    """Yield what is read at once: no more blobs than so many dead letters take, by their metadata, and one at least."""
    group: list[BlobProperties] = []
    held = 0
    async for blob in blobs:
        group.append(blob)
        held += int(blob.metadata.get("dead", "1"))
        if len(group) == STORAGE_CALLS or held >= letters:
            yield group
            group, held = [], 0
    if group:
        yield group


def _shown(letter: dict[str, Any]) -> dict[str, Any]:
    """Return a dead letter as it is listed: the message in one keeps its urls, which may hold secrets."""
    if "body" not in letter:
        return letter
    if letter.get("encoding") == "base64":  # a message that is no text
        return {**letter, "body": OMITTED}
    return {**letter, "body": redact_text(redact_callback(letter["body"]))}
