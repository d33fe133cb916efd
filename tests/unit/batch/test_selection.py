from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest

from inference.batch.selection import DeadLetterFilter, DeadLetterReader, Place
from inference.errors import InvalidRequest
from inference.storage import Blob
from tests.fakes import FakeBlobStore

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class CountingStore(FakeBlobStore):
    """A container that counts reads, and how many are under way at once."""

    reads = under_way = most = 0

    async def read(self, name: str) -> Blob:
        self.reads += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            return await super().read(name)
        finally:
            self.under_way -= 1


async def store_with(*names: str, letters: int = 3) -> CountingStore:
    store = CountingStore("deadletters")
    for name in names:
        metadata = {"codes": orjson.dumps({"odd": 1, "even": 2}).decode(), "dead": str(letters)}
        lines = [
            orjson.dumps({"index": index, "code": "odd" if index % 2 else "even", "last_at": NOON.isoformat()})
            for index in range(letters)
        ]
        await store.write(name, b"\n".join(lines), metadata=metadata)
    return store


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (DeadLetterFilter(), 9),
        (DeadLetterFilter(code="odd"), 3),
        (DeadLetterFilter(code="other"), 0),
        (DeadLetterFilter(batch_id="a"), 6),
        (DeadLetterFilter(batch_id="a", code="even"), 4),
        (DeadLetterFilter(limit=2), 2),
        (DeadLetterFilter(since=NOON), 9),
        (DeadLetterFilter(since=NOON.astimezone(timezone(timedelta(hours=5)))), 9),
        (DeadLetterFilter(since=NOON + timedelta(seconds=1)), 0),
    ],
)
async def test_letters_are_found_by_batch_code_time_and_limit(wanted: DeadLetterFilter, found: int) -> None:
    reader = DeadLetterReader(await store_with("_manifests/a.0123.json", "a/00000.jsonl", "ab/00000.jsonl"))

    assert len([letter async for letter in reader.read(wanted)]) == found


@pytest.mark.parametrize("batch_id", [None, "a", "0"])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
async def test_pages_skip_nothing_and_repeat_nothing(batch_id: str | None, size: int) -> None:
    names = ["_manifests/0.0123.json", "_manifests/a.0123.json", "0/00000.jsonl", "a/00000.jsonl", "a/00001.jsonl"]
    reader = DeadLetterReader(await store_with(*names))
    every = [letter async for letter in reader.read(DeadLetterFilter(batch_id=batch_id))]

    found, token = [], None
    while True:
        page = await reader.page(DeadLetterFilter(batch_id=batch_id, after=token), size)
        found += page.records
        token = page.next
        if token is None:
            break

    assert found == [letter for _, letter in every]


async def test_past_five_thousand_letters_every_one_is_found() -> None:
    names = [f"b/{shard:05d}.jsonl" for shard in range(5200)]
    reader = DeadLetterReader(await store_with(*names, letters=1))

    assert len([letter async for letter in reader.read(DeadLetterFilter())]) == 5200


@pytest.mark.parametrize(
    "wanted",
    [{"batch_id": "../x"}, {"batch_id": ""}, {"since": datetime(2026, 1, 1)}, {"limit": 0}],  # noqa: DTZ001
)
def test_a_filter_that_means_nothing_is_refused(wanted: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        DeadLetterFilter(**wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize("token", ["", "x", "name:", "name:-1", "name:x", "n" * 300 + ":1"])
def test_a_token_that_is_not_ours_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequest):
        Place.decode(token)


@pytest.mark.parametrize(
    ("letters", "limit", "at_once"),
    [(1, None, 16), (1, 40, 16), (1, 5, 5), (100, None, 10), (100, 100, 1), (2000, None, 1)],
)
async def test_small_blobs_are_read_several_at_once_and_no_more_than_are_wanted(
    letters: int, limit: int | None, at_once: int
) -> None:
    store = await store_with(*(f"a/{number:05d}.jsonl" for number in range(40)), letters=letters)
    reader = DeadLetterReader(store)

    found = [place async for place, _ in reader.read(DeadLetterFilter(limit=limit))]

    assert found == sorted(found, key=lambda place: (place.name, place.line))
    assert len(found) == (limit or 40 * letters)
    assert store.most == at_once
    assert store.reads == (40 if limit is None else -(-limit // letters))


async def test_a_page_of_large_blobs_reads_no_more_than_it_shows() -> None:
    store = await store_with(*(f"a/{number:05d}.jsonl" for number in range(40)), letters=100)

    page = await DeadLetterReader(store).page(DeadLetterFilter(), 100)

    assert (len(page.records), page.next) == (100, "a/00000.jsonl:99")
    assert store.reads == 2  # one dead letter more, to tell whether there is another page
