"""Posting to a real receiver: what goes over the wire, how it is answered, and who is never asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from inference.errors import OriginBroken, OriginTimeout, OriginUnavailable, ShuttingDown, UrlNotAllowed
from inference.fetch import Poster
from inference.fetch.poster import Answer
from inference.settings import FetchLimits, Network, UrlPrefix
from tests.origins import Origin, Reply, answering, canary
from tests.unit.fetch.hostile import hostile_urls
from tests.unit.fetch.zone import TRUST_STORE, Zone, exception

BODY = b'{"batch_id": "b"}'
HEADERS = {"Content-Type": "application/json", "Idempotency-Key": "b/0"}


@asynccontextmanager
async def posting(
    *prefixes: str, allow: tuple[Network, ...] = (), zone: Zone | None = None, **limits: float
) -> AsyncIterator[Poster]:
    """Open a poster that takes http too, with these prefixes and exceptions, and close it."""
    settings = FetchLimits(allow=allow, **{"allow_http": True, **limits})  # type: ignore[arg-type]
    poster = Poster(
        settings,
        [UrlPrefix.parse(prefix) for prefix in prefixes],
        resolver=zone or Zone(),
        own_hosts=["app.azurewebsites.example"],
        tls=TRUST_STORE,
    )
    try:
        yield poster
    finally:
        await poster.close()


@asynccontextmanager
async def receiving(path: str = "/", *, timeout_seconds: float = 15.0) -> AsyncIterator[tuple[Origin, Poster]]:
    """Open a receiver, and a poster that may post to it below `path`."""
    async with (
        Origin() as origin,
        posting(origin.url(path), allow=(origin.allow,), timeout_seconds=timeout_seconds) as poster,
    ):
        yield origin, poster


async def test_a_post_carries_the_body_and_the_headers_and_nothing_of_this_process() -> None:
    async with receiving() as (origin, poster):
        answer = await poster.post(origin.answer("/hook", Reply(204)) + "?key=a%2Fb", BODY, HEADERS)

    (request,) = origin.requests
    assert answer == Answer(204)
    assert (request.method, request.target, request.body) == ("POST", "/hook?key=a%2Fb", BODY)
    assert request.headers == {
        "Host": f"127.0.0.1:{origin.port}",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "User-Agent": "onnx-functions",
        "Content-Length": str(len(BODY)),
        "Connection": "close",
        **HEADERS,
    }


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299, 300, 304, 400, 404, 410, 429, 500, 503])
async def test_any_status_is_an_answer_and_a_2xx_a_success(status: int) -> None:
    async with receiving() as (origin, poster):
        answer = await poster.post(origin.answer("/", Reply(status)), BODY, HEADERS)

    assert (answer.status, answer.is_success) == (status, 200 <= status < 300)


async def test_retry_after_is_read() -> None:
    async with receiving() as (origin, poster):
        answer = await poster.post(origin.answer("/", Reply(503, headers={"Retry-After": "7"})), BODY, HEADERS)

    assert answer == Answer(503, 7.0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(status: int) -> None:
    async with receiving() as (origin, poster):
        origin.serve("/b", b"")
        answer = await poster.post(origin.redirect("/a", "/b", status), BODY, HEADERS)

    assert not answer.is_success
    assert origin.hits == {"/a": 1}


async def test_the_body_of_a_reply_is_not_waited_for() -> None:
    """A receiver that never ends its reply would otherwise hold the worker until the time-out."""
    never = asyncio.Event()
    async with receiving() as (origin, poster):
        answer = await poster.post(origin.answer("/", Reply(body=b"x" * 1000, hold_body=never)), BODY, HEADERS)

    assert answer.is_success


async def test_a_receiver_that_does_not_answer_in_time_is_given_up() -> None:
    async with receiving(timeout_seconds=0.5) as (origin, poster):
        with pytest.raises(OriginTimeout):
            await poster.post(origin.answer("/", Reply(hold=asyncio.Event())), BODY, HEADERS)

    assert origin.hits == {"/": 1}


async def test_a_receiver_that_hangs_up_is_asked_once() -> None:
    async with canary("127.0.0.1") as listener:
        async with posting(listener.url("/"), allow=(listener.allow,)) as poster:
            with pytest.raises(OriginUnavailable):
                await poster.post(listener.url("/"), BODY, HEADERS)
        assert listener.connections == 1


async def test_an_endless_header_is_not_read() -> None:
    endless = b"HTTP/1.1 200 OK\r\nX: " + b"a" * 1_000_000
    async with answering(endless) as listener, posting(listener.url("/"), allow=(listener.allow,)) as poster:
        with pytest.raises(OriginBroken):
            await poster.post(listener.url("/"), BODY, HEADERS)


async def test_each_post_has_a_connection_of_its_own() -> None:
    async with receiving() as (origin, poster):
        url = origin.answer("/", Reply())
        for _ in range(3):
            await poster.post(url, BODY, HEADERS)

    assert len({request.peer for request in origin.requests}) == 3


async def test_only_what_begins_with_a_prefix_is_posted_to() -> None:
    async with receiving("/hooks/a") as (origin, poster):
        for path in ("/hooks/a", "/hooks/a/", "/hooks/a/b?c"):
            poster.check(origin.url(path))
        for path in ("/", "/hooks", "/hooks/ab", "/hooks/a/../b", "/hooks/a/%2e%2e/b", "/hooks/a/%252e%252e/b"):
            with pytest.raises(UrlNotAllowed, match="INFERENCE_CALLBACK_ALLOW"):
                poster.check(origin.url(path))
            with pytest.raises(UrlNotAllowed, match="INFERENCE_CALLBACK_ALLOW"):
                await poster.post(origin.url(path), BODY, HEADERS)

    assert not origin.requests


async def test_a_prefix_alone_opens_no_private_address() -> None:
    async with canary("127.0.0.1") as listener, posting(listener.url("/")) as poster:
        with pytest.raises(UrlNotAllowed):
            await poster.post(listener.url("/"), BODY, HEADERS)
    assert listener.connections == 0


async def test_a_prefix_alone_opens_no_plain_http() -> None:
    async with posting("http://hooks.example/", allow_http=False) as poster:
        with pytest.raises(UrlNotAllowed, match="scheme is not https"):
            poster.check("http://hooks.example/")


async def test_no_prefix_opens_an_address_that_the_name_server_gives_for_an_allowed_name() -> None:
    zone = Zone(hooks_example=["127.0.0.1"])
    async with canary() as listener:
        prefix = f"http://hooks.example:{listener.port}/"
        allow = (exception("127.9.9.9", listener.port),)
        async with posting(prefix, "https://hooks.example/", allow=allow, zone=zone) as poster:
            for url in (prefix, "https://hooks.example/"):
                with pytest.raises(UrlNotAllowed):
                    await poster.post(url, BODY, HEADERS)
        assert listener.connections == 0
    assert zone.asked["hooks.example"] == 2


async def test_no_hostile_url_leads_to_a_connection_or_a_look_up() -> None:
    zone = Zone()
    async with canary() as listener:
        allow = (exception("127.9.9.9", listener.port),)
        async with posting("https://example.com/hook", allow=allow, zone=zone) as poster:
            for url in hostile_urls(listener.port):
                with pytest.raises(UrlNotAllowed):
                    await poster.post(url, BODY, HEADERS)
        assert listener.connections == 0
    assert not zone.asked


async def test_nothing_is_allowed_by_default() -> None:
    async with posting() as poster:
        with pytest.raises(UrlNotAllowed, match="none of the prefixes"):
            poster.check("https://example.com/")


async def test_a_closed_poster_says_that_it_shuts_down() -> None:
    async with posting("https://example.com/") as poster:
        await poster.close()
        with pytest.raises(ShuttingDown):
            await poster.post("https://example.com/", BODY, HEADERS)
