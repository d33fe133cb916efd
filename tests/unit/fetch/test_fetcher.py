"""Fetching from a real origin that answers: bytes, redirects, connections, slots."""

from __future__ import annotations

import asyncio
import threading
from ipaddress import ip_network

import pytest

from inference.errors import (
    DeadlineExceeded,
    OriginBroken,
    OriginUnavailable,
    ShuttingDown,
    UrlNotAllowed,
)
from inference.fetch import Fetcher, resolver
from inference.settings import FetchLimits, Network
from tests.origins import Origin, Reply
from tests.unit.fetch.zone import Zone, fetching, needs_ipv6

BODY = bytes(range(256)) * 400


async def test_a_body_comes_back_byte_for_byte() -> None:
    async with Origin() as origin, fetching(origin.allow) as fetcher:
        assert await fetcher.fetch(origin.serve("/a.png", BODY)) == BODY
        assert await fetcher.fetch(origin.serve("/empty.png", b"")) == b""


async def test_a_chunked_body_comes_back_whole() -> None:
    async with Origin() as origin, fetching(origin.allow) as fetcher:
        url = origin.answer("/a", Reply(body=BODY, headers={"Transfer-Encoding": "chunked"}))

        assert await fetcher.fetch(url) == BODY


async def test_a_signed_query_goes_over_the_wire_byte_for_byte() -> None:
    signed = "/c/a%20b.png?sv=2024-11-04&se=2027-01-01T00%3A00%3A00Z&sr=b&sp=r&sig=a%2Fb%2bc+d/e%3D=="
    async with Origin() as origin, fetching(origin.allow) as fetcher:
        origin.serve("/c/a%20b.png", BODY)
        origin.redirect("/start", signed)

        assert await fetcher.fetch(origin.url(signed)) == BODY
        assert await fetcher.fetch(origin.url("/start")) == BODY

    assert [request.target for request in origin.requests] == [signed, "/start", signed]


async def test_a_request_carries_nothing_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "canary")
    async with Origin() as origin, fetching(origin.allow) as fetcher:
        cookie = {"Set-Cookie": "session=canary; Path=/", "Location": "/b"}
        await fetcher.fetch(origin.serve("/b", BODY))
        await fetcher.fetch(origin.answer("/a", Reply(status=302, headers=cookie)))

    assert len(origin.requests) == 3
    for request in origin.requests:
        assert request.headers == {
            "Host": f"127.0.0.1:{origin.port}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "User-Agent": "onnx-functions",
        }


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed_to_another_origin(status: int) -> None:
    async with Origin() as first, Origin(host="127.0.0.2") as second:
        second.serve("/b", BODY)
        first.redirect("/a", second.url("/b"), status)
        async with fetching(first.allow, second.allow) as fetcher:
            assert await fetcher.fetch(first.url("/a")) == BODY


async def test_as_many_redirects_are_followed_as_the_limit_says_and_no_more() -> None:
    async with Origin() as origin, fetching(origin.allow, max_redirects=3) as fetcher:
        for hop in range(4):
            origin.redirect(f"/{hop}", f"/{hop + 1}")
        origin.serve("/4", BODY)

        assert await fetcher.fetch(origin.url("/1")) == BODY
        with pytest.raises(OriginBroken, match="more than 3 times"):
            await fetcher.fetch(origin.url("/0"))
        assert origin.hits["/4"] == 1


async def test_no_redirect_is_followed_when_none_is_allowed() -> None:
    async with Origin() as origin, fetching(origin.allow, max_redirects=0) as fetcher:
        assert await fetcher.fetch(origin.serve("/a", BODY)) == BODY
        with pytest.raises(OriginBroken, match="more than 0 times"):
            await fetcher.fetch(origin.redirect("/b", "/a"))


async def test_a_circle_of_redirects_is_noticed_at_once() -> None:
    async with Origin() as origin, fetching(origin.allow, max_redirects=50) as fetcher:
        origin.redirect("/a", "/b")
        origin.redirect("/b", f"http://127.0.0.1:{origin.port}/a#again")
        with pytest.raises(OriginBroken, match="circle"):
            await fetcher.fetch(origin.url("/a"))
        assert origin.hits == {"/a": 1, "/b": 1}


@pytest.mark.parametrize("location", [None, "", "http:", "http://", "a:b"])
async def test_a_redirect_to_nowhere_is_the_origins_fault(location: str | None) -> None:
    async with Origin() as origin, fetching(origin.allow) as fetcher:
        with pytest.raises(OriginBroken, match="redirects to"):
            await fetcher.fetch(origin.redirect("/a", location))


async def test_connections_are_reused_by_one_name_and_not_shared_between_names() -> None:
    zone = Zone(one_example=["127.0.0.1"], two_example=["127.0.0.1"])
    async with Origin() as origin, fetching(origin.allow, zone=zone) as fetcher:
        origin.serve("/a", BODY)
        for name in ("one.example", "one.example", "two.example"):
            assert await fetcher.fetch(origin.url("/a", host=name)) == BODY

    first, second, third = (request.peer for request in origin.requests)
    assert first == second
    assert first != third


async def test_a_name_that_rotates_its_addresses_keeps_its_connection() -> None:
    zone = Zone()
    async with Origin(host="127.0.0.1") as origin:
        allow = Network(ip_network("127.0.0.0/30"), origin.port)
        zone.answer("rotating.example", ["127.0.0.1"], ["127.0.0.2"])
        async with fetching(allow, zone=zone) as fetcher:
            url = origin.url("/a", host="rotating.example")
            origin.serve("/a", BODY)

            assert [await fetcher.fetch(url), await fetcher.fetch(url)] == [BODY, BODY]

    assert len({request.peer for request in origin.requests}) == 1


async def test_a_name_that_moves_is_followed_to_its_new_address() -> None:
    async with Origin(host="127.0.0.2") as new:
        zone = Zone()
        zone.answer("moving.example", ["127.0.0.1"], ["127.0.0.2"])
        async with fetching(Network(ip_network("127.0.0.0/30"), new.port), zone=zone) as fetcher:
            url = new.url("/a", host="moving.example")
            new.serve("/a", BODY)
            with pytest.raises(OriginUnavailable):
                await fetcher.fetch(url)

            assert await fetcher.fetch(url) == BODY


@needs_ipv6
async def test_an_exception_opens_an_ipv6_origin() -> None:
    async with Origin(host="::1") as origin, fetching(origin.allow) as fetcher:
        assert await fetcher.fetch(origin.serve("/a", BODY)) == BODY


async def test_a_dead_address_is_passed_over_for_a_living_one() -> None:
    async with Origin(host="127.0.0.2") as origin:
        zone = Zone(twofold_example=["127.0.0.1", "127.0.0.2"])
        async with fetching(Network(ip_network("127.0.0.0/30"), origin.port), zone=zone) as fetcher:
            origin.serve("/a", BODY)

            assert await fetcher.fetch(origin.url("/a", host="twofold.example")) == BODY


async def test_one_origin_is_asked_for_no_more_at_once_than_the_cap() -> None:
    answer = asyncio.Event()
    async with Origin() as origin, fetching(origin.allow, max_per_origin=2) as fetcher:
        url = origin.answer("/a", Reply(body=BODY, hold=answer))
        fetches = [asyncio.create_task(fetcher.fetch(url)) for _ in range(6)]
        await origin.asked.wait()
        answer.set()

        assert await asyncio.gather(*fetches) == [BODY] * 6
        assert origin.peak <= 2


async def test_waiting_for_a_busy_origin_is_charged_to_the_callers_deadline_alone() -> None:
    answer = asyncio.Event()
    async with Origin() as origin, fetching(origin.allow, max_per_origin=1) as fetcher:
        url = origin.answer("/a", Reply(body=BODY, hold=answer))
        first = asyncio.create_task(fetcher.fetch(url))
        await origin.asked.wait()

        with pytest.raises(DeadlineExceeded):
            await fetcher.fetch(url, deadline_seconds=0.01)
        with pytest.raises(DeadlineExceeded):
            await fetcher.fetch(url, deadline_seconds=-1)
        answer.set()
        assert await first == BODY


async def test_a_caller_that_leaves_frees_its_slot() -> None:
    never = asyncio.Event()
    async with Origin() as origin, fetching(origin.allow, max_per_origin=1) as fetcher:
        fetch = asyncio.create_task(fetcher.fetch(origin.answer("/a", Reply(hold=never))))
        await origin.asked.wait()
        fetch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetch

        assert await fetcher.fetch(origin.serve("/b", BODY)) == BODY


async def test_a_closed_fetcher_fetches_no_more() -> None:
    async with Origin() as origin:
        async with fetching(origin.allow) as fetcher:
            url = origin.serve("/a", BODY)
            assert await fetcher.fetch(url) == BODY
        with pytest.raises(ShuttingDown):
            await fetcher.fetch(url)
        await fetcher.close()


async def test_a_fetch_whose_name_is_looked_up_when_the_fetcher_closes_says_that_it_shuts_down() -> None:
    asked, may_answer = asyncio.Event(), asyncio.Event()

    class Late:
        async def resolve(self, host: str, port: int) -> list[str]:
            asked.set()
            await may_answer.wait()
            return ["93.184.215.14"]

    fetcher = Fetcher(FetchLimits(), resolver=Late())
    fetch = asyncio.create_task(fetcher.fetch("https://example.com/a"))
    await asked.wait()
    await fetcher.close()
    may_answer.set()

    with pytest.raises(ShuttingDown):
        await fetch


async def test_a_look_up_that_waits_for_others_when_the_fetcher_closes_says_that_it_shuts_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_first_asked, may_answer = threading.Event(), threading.Event()

    def look_up(host: str, port: int) -> list[object]:
        is_first_asked.set()
        may_answer.wait()
        return []

    monkeypatch.setattr(resolver, "_look_up", look_up)
    monkeypatch.setattr(resolver, "_MAX_LOOKUPS", 1)
    fetcher = Fetcher(FetchLimits(), dns_timeout_seconds=600)
    first = asyncio.create_task(fetcher.fetch("https://first.example/a"))
    try:
        await asyncio.to_thread(is_first_asked.wait)
        second, third = (asyncio.create_task(fetcher.fetch(f"https://{n}.example/a")) for n in ("second", "third"))
        for _ in range(10):  # turns enough for both to wait for the one thread
            await asyncio.sleep(0)
        third.cancel()
        await fetcher.close()

        with pytest.raises(ShuttingDown):
            await second
        with pytest.raises(asyncio.CancelledError):
            await third
    finally:
        may_answer.set()
        await asyncio.gather(first, return_exceptions=True)


async def test_a_fetch_that_is_under_way_when_the_fetcher_closes_blames_no_origin() -> None:
    never = asyncio.Event()
    async with Origin() as origin, fetching(origin.allow) as fetcher:
        fetch = asyncio.create_task(fetcher.fetch(origin.answer("/a", Reply(hold=never))))
        await origin.asked.wait()
        await fetcher.close()

        with pytest.raises(ShuttingDown):
            await fetch


async def test_a_fetcher_can_be_made_outside_of_any_loop_and_closed_unused() -> None:
    fetcher = await asyncio.to_thread(Fetcher, FetchLimits())

    with pytest.raises(UrlNotAllowed):
        await fetcher.fetch("http://example.com/")
    await fetcher.close()
