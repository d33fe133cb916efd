"""Owns the reading of manifests: JSON Lines, CSV or plain urls, perhaps gzip, as a stream of items.

It refuses to judge urls (a bad one is a failed row) and to hold a manifest in memory. Every fault names its line.
"""

from __future__ import annotations

import asyncio
import csv
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping

import orjson

from inference.batch.inflation import inflate
from inference.batch.messages import read_json
from inference.errors import InvalidManifest

#: The caller's id or None, and the url.
type Item = tuple[str | None, str]
type Parser = Callable[[list[bytes], int], list[Item]]

MAX_ID_CHARACTERS = 256
#: A url of 2,048 characters and an id of 256, escaped, fit with room to spare; a file without line ends does not.
MAX_LINE_BYTES = 16 * 1024
#: Lines for each item, and so many more: of blank ones, which gzip makes of almost nothing, there would be no end.
_LINES_PER_ITEM = 100
_MAX_BLANK_LINES = 1_000_000
#: Bytes parsed between two turns of the event loop: about 3 ms, so that other work of the process goes on.
_SLICE_BYTES = 64 * 1024
_BOM = b"\xef\xbb\xbf"
_OPENING_BRACE, _QUOTE = b'{"'


async def read_items(chunks: AsyncIterable[bytes]) -> AsyncIterator[list[Item]]:
    """Yield the items of a manifest in its order, some hundreds at a time. Raises InvalidManifest."""
    parse: Parser | None = None
    table: CsvTable | None = None
    number, found = 1, 0
    async for lines in _split_lines(inflate(chunks)):
        if number > _MAX_BLANK_LINES + _LINES_PER_ITEM * found:
            raise InvalidManifest(f"line {number}: only {found} of so many lines hold an image.")
        if parse is None:
            start = next((at for at, line in enumerate(lines) if line.strip()), len(lines))
            lines, number = lines[start:], number + start
            if not lines:
                continue
            table = CsvTable.of_header(lines[0], number)
            parse = table.parse if table else _parse_lines
        items = parse(lines, number)
        yield items
        number += len(lines)
        found += len(items)
    if table:
        table.close()


def read_item(value: object, where: str) -> Item:
    """Return the item that a JSON value stands for: a url or `{"id"?, "url"}`. Raises InvalidManifest."""
    if isinstance(value, str):
        value = {"url": value}
    if not isinstance(value, Mapping):
        raise InvalidManifest(f"{where}: neither a url nor an object with one.")
    if unknown := value.keys() - {"id", "url"}:
        raise InvalidManifest(f"{where}: unknown field {min(unknown)[:64]!r}; known are id and url.")
    url, id_ = value.get("url"), value.get("id")
    if not isinstance(url, str) or not url.strip():
        raise InvalidManifest(f"{where}: no url.")
    if "id" in value and not isinstance(id_, str):
        raise InvalidManifest(f"{where}: id is not text.")
    return _check_id(id_, where), url.strip()


def _check_id(id_: str | None, where: str) -> str | None:
    if id_ is not None and len(id_) > MAX_ID_CHARACTERS:
        raise InvalidManifest(f"{where}: id is longer than {MAX_ID_CHARACTERS} characters.")
    return id_


def _parse_lines(lines: list[bytes], number: int) -> list[Item]:
    """Parse lines of JSON objects, JSON strings or bare urls, which may be mixed. This is the hot loop."""
    items: list[Item] = []
    for at, padded in enumerate(lines, number):
        line = padded.strip()
        if not line:
            continue
        if line[0] != _OPENING_BRACE and line[0] != _QUOTE:
            items.append((None, _read_url(line, at)))
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as exc:
            raise InvalidManifest(f"line {at}: not JSON ({exc.msg}).") from None
        # Every key and every text has two quotes; any other number means an escape, a non-text or a key that
        # stands twice, which orjson does not tell: those rare lines are read again by the strict reader.
        if type(value) is dict and line.count(b'"') != 4 * len(value):
            value = _read_strictly(line, at)
        items.append(read_item(value, f"line {at}"))
        if len(line) > MAX_LINE_BYTES:
            raise InvalidManifest(f"line {at}: longer than {MAX_LINE_BYTES} bytes.")
    return items


def _read_url(line: bytes, number: int) -> str:
    url = _decode(line, number)
    if url.startswith("["):  # a document of JSON on one line, which would be taken for one url
        raise InvalidManifest(f"line {number}: a list; each item has a line of its own.")
    if "://" not in url:
        raise InvalidManifest(f"line {number}: no url.")
    return url


def _read_strictly(line: bytes, number: int) -> object:
    try:
        return read_json(line)
    except InvalidManifest as exc:
        raise InvalidManifest(f"line {number}: {exc.message.removeprefix('line 1: ')}") from None


def _decode(line: bytes, number: int) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise InvalidManifest(f"line {number}: not UTF-8 text.") from None


class CsvTable:
    """Rows under a header with the columns `url` and perhaps `id`, as RFC 4180 has them."""

    def __init__(self, columns: list[str]) -> None:
        self._columns = columns
        self._url = columns.index("url")
        self._id = columns.index("id") if "id" in columns else None
        self._has_header = False
        #: Lines of a record whose quoted field goes on over line ends, and the number of its first.
        self._open: list[str] = []
        self._open_characters = 0
        self._opened_at = 0

    @classmethod
    def of_header(cls, line: bytes, number: int) -> CsvTable | None:
        """Return the table that begins with this line, or None when it is no header. Raises InvalidManifest."""
        text = _decode(line.strip(), number)
        if "\r" in text:
            raise InvalidManifest(f"line {number}: a carriage return within it; lines end in LF or CRLF.")
        if text.startswith("{") or "://" in text:
            return None
        try:
            columns = [column.strip().lower() for column in next(csv.reader([text]))]
        except csv.Error as exc:
            raise InvalidManifest(f"line {number}: not CSV ({exc}).") from None
        if "url" not in columns:
            return None
        unknown = [column for column in columns if column not in {"id", "url"}]
        if unknown or len(set(columns)) < len(columns):
            raise InvalidManifest(f"line {number}: the columns are url and perhaps id, each once.")
        return cls(columns)

    def parse(self, lines: list[bytes], number: int) -> list[Item]:
        """Parse the next lines; the header is the first of the first."""
        if not self._has_header:
            self._has_header = True
            lines, number = lines[1:], number + 1
        items: list[Item] = []
        for at, line in enumerate(lines, number):
            text = _decode(line.removesuffix(b"\r"), at)
            # By this line alone: a record of thousands of empty ones must not be read anew for each of them.
            is_quoted = bool(self._open) ^ (text.count('"') % 2 == 1)
            self._opened_at = self._opened_at if self._open else at
            self._open.append(text)
            self._open_characters += len(text) + 1
            if not is_quoted:
                record = "\n".join(self._open)
                self._open.clear()
                self._open_characters = 0
                if record.strip():
                    items.append(self._read_record(record, self._opened_at))
            elif self._open_characters > MAX_LINE_BYTES:
                raise InvalidManifest(f"line {self._opened_at}: a quoted field does not end.")
        return items

    def close(self) -> None:
        """Check that nothing is left open. Raises InvalidManifest."""
        if self._open:
            raise InvalidManifest(f"line {self._opened_at}: a quoted field does not end.")

    def _read_record(self, record: str, number: int) -> Item:
        try:
            cells = next(csv.reader([record], strict=True))
        except csv.Error as exc:
            raise InvalidManifest(f"line {number}: not CSV ({exc}).") from None
        if len(cells) != len(self._columns):
            raise InvalidManifest(f"line {number}: {len(cells)} cells under {len(self._columns)} columns.")
        url = cells[self._url].strip()
        if not url:
            raise InvalidManifest(f"line {number}: no url.")
        id_ = cells[self._id] if self._id is not None else ""
        return _check_id(id_ or None, f"line {number}"), url


async def _split_lines(chunks: AsyncIterable[bytes]) -> AsyncIterator[list[bytes]]:
    """Yield complete lines; the last one needs no line end."""
    rest, number, is_first = b"", 1, True
    async for chunk in chunks:
        for start in range(0, len(chunk), _SLICE_BYTES):
            data = rest + chunk[start : start + _SLICE_BYTES]
            if is_first and len(data) >= len(_BOM):
                data, is_first = data.removeprefix(_BOM), False
            *lines, rest = data.split(b"\n")
            if len(rest) > MAX_LINE_BYTES:
                raise InvalidManifest(f"line {number + len(lines)}: longer than {MAX_LINE_BYTES} bytes.")
            if lines:
                yield lines
                number += len(lines)
            await asyncio.sleep(0)
    if rest:
        yield [rest]
