from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest

from inference.batch.selection import DeadLetterFilter, DeadLetterReader, Place
from inference.errors import InvalidRequest
from tests.fakes import FakeBlobStore

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


async def store_with(*names: str, letters: int = 3) -> FakeBlobStore:
    store = FakeBlobStore("deadletters")
    for name in names:
        codes = {"odd": 1, "even": 2}
        lines = [
            orjson.dumps({"index": index, "code": "odd" if index % 2 else "even", "last_at": NOON.isoformat()})
            for index in range(letters)
        ]
        await store.write(name, b"\n".join(lines), metadata={"codes": orjson.dumps(codes).decode()})
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
