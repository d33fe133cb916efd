from __future__ import annotations

import csv
import gzip
import io
from collections.abc import AsyncIterator, Callable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.batch.canonical import Canonicaliser
from inference.batch.manifest import MAX_LINE_BYTES, CsvTable, Item, read_item, read_items
from inference.errors import InvalidManifest

#: Text as a manifest may carry it: no lone surrogates, which are no Unicode text.
ids = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
urls = st.text(st.characters(codec="ascii", exclude_characters="\r\n ", exclude_categories=["Cc"]), max_size=20).map(
    lambda tail: f"https://images.example/{tail}"
)
items_of_a_manifest = st.lists(st.tuples(ids, urls), min_size=1, max_size=30)
pieces = st.integers(min_value=1, max_value=50)


async def chunked(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read(data: bytes, size: int = 1 << 20) -> list[Item]:
    return [item async for some in read_items(chunked(data, size)) for item in some]


def as_json_lines(items: list[Item]) -> bytes:
    return b"".join(orjson.dumps({"url": url} | ({"id": id_} if id_ else {})) + b"\n" for id_, url in items)


def as_csv(items: list[Item]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["url", "id"])
    writer.writerows([url, id_ or ""] for id_, url in items)
    return text.getvalue().encode()


def as_strings(items: list[Item]) -> bytes:
    return b"\r\n".join(orjson.dumps(url) for _, url in items)


@given(items_of_a_manifest, pieces, st.booleans())
@pytest.mark.parametrize("write", [as_json_lines, as_csv, as_strings])
async def test_what_is_written_is_read_however_the_bytes_come(
    write: Callable[[list[Item]], bytes], items: list[Item], size: int, packed: bool
) -> None:
    # CSV has no way to keep a carriage return apart from a line end inside a quoted field.
    items = [(id_.replace("\r", " ") if id_ else None, url) for id_, url in items]
    data = write(items)

    found = await read(gzip.compress(data) if packed else data, size)

    if write is as_strings:
        items = [(None, url) for _, url in items]
    assert found == items


@given(items_of_a_manifest, st.integers(min_value=1, max_value=7))
async def test_the_canonical_manifest_is_a_manifest_with_the_same_canonical_form(items: list[Item], size: int) -> None:
    first, second = Canonicaliser(size, 1000), Canonicaliser(size, 1000)

    once = first.write(items)
    twice = second.write(await read(once))

    assert once == twice
    assert first.digest == second.digest
    assert first.table() == second.table()


async def test_blank_lines_end_where_gzip_makes_them_of_nothing() -> None:
    url, few, many = b"https://images.example/a\n", b"\n" * 900_000, b"\n" * 1_100_000

    assert await read(gzip.compress(few + url + few[:1000])) == [(None, url.decode().strip())]
    for manifest in (many + url, url + many, b"url\n" + many):
        with pytest.raises(InvalidManifest, match="so many lines"):
            await read(gzip.compress(manifest))


async def test_plain_urls_are_read_with_blank_lines_left_out_and_spaces_trimmed() -> None:
    found = await read(b"\xef\xbb\xbf\n  https://a.example/1  \r\n\nhttps://a.example/2?a=b,c\n")

    assert found == [(None, "https://a.example/1"), (None, "https://a.example/2?a=b,c")]


async def test_members_of_gzip_in_a_row_are_one_manifest() -> None:
    packed = gzip.compress(b"https://a.example/1\n") + gzip.compress(b"https://a.example/2\n") + b"\0" * 100

    assert [url for _, url in await read(packed, 7)] == ["https://a.example/1", "https://a.example/2"]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'{"url": "https://a.example/1"}\n{"url": ""}\n', "line 2: no url."),
        (b'{"url": "https://a.example/1"}\n\n{"id": "x"}\n', "line 3: no url."),
        (b'{"url": 7}', "line 1: no url."),
        (b'{"url": "https://a.example/1", "id": 7}', "line 1: id is not text."),
        (b'{"url": "https://a.example/1", "id": null}', "line 1: id is not text."),
        (b'{"url": "https://a.example/1", "size": 7}', "line 1: unknown field 'size'; known are id and url."),
        (b'{"url": "https://a.example/1", "url": "https://a.example/2"}', "line 1: A key stands twice in one object."),
        (b'{"id": "' + b"x" * 257 + b'", "url": "https://a.example/1"}', "line 1: id is longer than 256 characters."),
        (b"https://a.example/1\nhello\n", "line 2: no url."),
        (b"https://a.example/1\n[1]\n", "line 2: a list; each item has a line of its own."),
        (b'["https://a.example/1", "https://a.example/2"]', "line 1: a list; each item has a line of its own."),
        (b"https://a.example/\xff\n", "line 1: not UTF-8 text."),
        (b'{"url": "https://a.example/\xff"}\n', "line 1: not UTF-8 text."),
        (b'\n\n{"url": \n', "line 3: not JSON"),
        (b"https://a.example/1\nhttps://a.example/" + b"x" * 100_000, "line 2: longer than 16384 bytes."),
        (b"id,url\na,https://a.example/1\nb\n", "line 3: 1 cells under 2 columns."),
        (b"id,url\na,\n", "line 2: no url."),
        (b"id,url,note\n", "line 1: the columns are url and perhaps id, each once."),
        (b"url,url\n", "line 1: the columns are url and perhaps id, each once."),
        (b'id,url\n"a\nb",https://a.example/1\n"open,https://a.example/2\n', "line 4: a quoted field does not end."),
        (b'id,url\n"a"b,https://a.example/1\n', "line 2: not CSV"),
        (gzip.compress(b"https://a.example/1\n")[:-4], "The manifest is not readable gzip (it ends early)."),
        (b"\x1f\x8b nonsense", "The manifest is not readable gzip"),
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 20])
async def test_a_fault_names_its_line(data: bytes, problem: str, size: int) -> None:
    with pytest.raises(InvalidManifest) as raised:
        await read(data, size)

    assert raised.value.message.startswith(problem)


async def test_a_quoted_field_that_never_ends_is_refused_before_it_fills_memory() -> None:
    data = b'url\n"https://a.example/' + b"\n".join([b"x" * 80] * 5000)

    with pytest.raises(InvalidManifest, match="line 2: a quoted field does not end"):
        await read(data)


def test_a_record_of_thousands_of_lines_takes_no_longer_than_its_length() -> None:
    """Read anew for each line, a megabyte of such records took over a minute, and nothing was answered meanwhile."""
    table = CsvTable.of_header(b"url", 1)
    assert table is not None

    items = table.parse([b"url", *[b'"https://a.example/', *[b""] * 16_000, b'"'] * 200], 1)

    assert len(items) == 200


@pytest.mark.parametrize("head", [b"", b"https://a.example/1\n", b"url\nhttps://a.example/1\n"])
async def test_a_manifest_of_empty_lines_is_not_read_to_its_end(head: bytes) -> None:
    """100 KB of gzip are a hundred million of them."""
    read_bytes = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal read_bytes
        yield head
        for _ in range(1000):
            read_bytes += 100_000
            yield b"\n" * 100_000

    with pytest.raises(InvalidManifest, match="so many lines"):
        async for _ in read_items(chunks()):
            pass
    assert read_bytes < 2_000_000


async def test_a_manifest_may_have_an_empty_line_for_each_item() -> None:
    items = await read(b"https://a.example/1\n\n" * 150_000)

    assert len(items) == 150_000


async def test_a_bomb_is_unpacked_a_slice_at_a_time() -> None:
    packed = gzip.compress(b"x" * 50_000_000)
    taken = 0

    async def one_chunk() -> AsyncIterator[bytes]:
        nonlocal taken
        taken += 1
        yield packed

    with pytest.raises(InvalidManifest, match=f"line 1: longer than {MAX_LINE_BYTES} bytes"):
        async for _ in read_items(one_chunk()):
            pass
    assert taken == 1


@pytest.mark.parametrize("value", [None, 7, [], {}, {"url": None}, {"url": " "}, {"id": "a"}, " "])
def test_a_value_that_names_no_url_is_no_item(value: object) -> None:
    with pytest.raises(InvalidManifest, match=r"^images\.3: "):
        read_item(value, "images.3")


@pytest.mark.parametrize("key", ["id", "url"])
async def test_an_escaped_quote_does_not_hide_a_key_that_stands_twice(key: str) -> None:
    line = '{"url": "https://a.example/\\"", "id": "x", "KEY": "y"}'.replace("KEY", key)

    with pytest.raises(InvalidManifest, match="stands twice"):
        await read(line.encode())


@pytest.mark.parametrize("text", [b"id\rurl\r", b"foo\rbar", b"id,url\ra,https://h/1\rb,https://h/2\r"])
async def test_lines_that_end_in_carriage_returns_alone_are_said(text: bytes) -> None:
    with pytest.raises(InvalidManifest, match=r"^line 1: a carriage return within it"):
        await read(text)
