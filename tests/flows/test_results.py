"""Results over HTTP, whole and in ranges."""

from __future__ import annotations

import pytest

from inference.batch import layout
from inference.errors import BatchNotFound, NotFound, StorageUnavailable
from inference.http import batches
from inference.http.batches import BatchRoutes
from inference.http.messages import Request, Response
from inference.settings import RequestLimits
from tests.flows.simulation import Simulation, images, manifest

FIRST = "bytes=0-9"


async def ended() -> Simulation:
    sim = Simulation()
    await sim.run(manifest("b", images(3)))
    return sim


async def get(sim: Simulation, batch_id: str = "b", query: str = "jsonl", **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = Request("GET", "", path={"batch_id": batch_id}, query={"format": query}, headers=named)
    return await BatchRoutes(sim.service, RequestLimits()).results(request)


async def test_ranges_make_up_the_whole() -> None:
    sim = await ended()
    whole = await get(sim)
    size = len(whole.body)
    first = await get(sim, range=FIRST)
    rest = await get(sim, range="bytes=10-", if_range=first.headers["etag"])

    assert (whole.status, whole.headers["accept-ranges"]) == (200, "bytes")
    assert (first.status, first.body, first.headers["content-range"]) == (206, whole.body[:10], f"bytes 0-9/{size}")
    assert (rest.status, rest.headers["content-range"]) == (206, f"bytes 10-{size - 1}/{size}")
    assert first.body + rest.body == whole.body
    assert (await get(sim, range="bytes=-5")).body == whole.body[-5:]
    assert first.headers["etag"].startswith('"')


@pytest.mark.parametrize(
    "headers",
    [
        {"range": "bytes=100000-"},
        {"range": "bytes=9-0"},
        {"range": "bytes=0-1,3-4"},
        {"range": "rows=0-1"},
        {"range": "much"},
        {"range": FIRST, "if_range": '"another"'},
    ],
)
async def test_what_is_no_range_of_these_results_is_answered_with_all_of_them(headers: dict[str, str]) -> None:
    sim = await ended()

    assert await get(sim, **headers) == await get(sim)


async def test_a_table_has_no_ranges() -> None:
    sim = await ended()

    assert (await get(sim, query="csv", range=FIRST)).status == 200


async def test_a_range_is_no_longer_than_a_reply_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = await ended()
    monkeypatch.setattr(batches, "MAX_REPLY_BYTES", 10)

    part = await get(sim, range="bytes=5-")

    assert (part.status, len(part.body)) == (206, 10)
    assert part.headers["content-range"].startswith("bytes 5-14/")


async def test_a_range_of_results_that_are_not_there_is_as_they_are() -> None:
    sim = Simulation()
    sim.drop(manifest("b", images(3)))
    await sim.step()

    with pytest.raises(NotFound, match="no results yet"):
        await get(sim, range=FIRST)
    with pytest.raises(BatchNotFound):
        await get(sim, batch_id="unknown", range=FIRST)


async def test_results_that_are_replaced_while_a_range_is_read_are_to_be_read_again() -> None:
    sim = await ended()
    found = await sim.service.find_results("b")
    await sim.storage.blobs("results").write(layout.results("b"), b"{}\n")

    with pytest.raises(StorageUnavailable, match="written anew"):
        await sim.service.read_results(found, 0, 10)
