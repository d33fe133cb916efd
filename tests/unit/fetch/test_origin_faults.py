"""Fetching from a real origin that misbehaves or does not answer: each fault has its error, and none shows the url."""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections.abc import Callable, Iterator

import pytest

from inference.errors import (
    DeadlineExceeded,
    ImageNotFound,
    ImageTooLarge,
    InferenceError,
    OriginBroken,
    OriginRefused,
    OriginThrottled,
    OriginTimeout,
    OriginUnavailable,
)
from tests.origins import Origin, Reply, answering
from tests.unit.fetch.zone import Zone, fetching

BODY = bytes(range(256)) * 400


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(status=404), ImageNotFound),
        (Reply(status=410), ImageNotFound),
        (Reply(status=401, headers={"WWW-Authenticate": "Basic"}), OriginRefused),
        (Reply(status=403), OriginRefused),
        (Reply(status=408), OriginTimeout),
        (Reply(status=500), OriginUnavailable),
        (Reply(status=503), OriginUnavailable),
        (Reply(status=201, body=BODY), OriginBroken),
        (Reply(status=204), OriginBroken),
        (Reply(status=206, body=BODY), OriginBroken),
        (Reply(status=300), OriginBroken),
        (Reply(status=304), OriginBroken),
        (Reply(body=BODY, close_after=1000), OriginUnavailable),
        (Reply(body=BODY, reset_after=1000), OriginUnavailable),
        (Reply(body=BODY, headers={"Transfer-Encoding": "chunked"}, close_after=1000), OriginUnavailable),
        (Reply(body=gzip.compress(bytes(1 << 20)), headers={"Content-Encoding": "gzip"}), OriginBroken),
        (Reply(body=b"x", headers={"Content-Encoding": "br"}), OriginBroken),
        (Reply(body=b"x", headers={"Content-Encoding": "identity, zstd"}), OriginBroken),
    ],
)
async def test_each_fault_of_an_origin_has_its_error(reply: Reply, kind: type[InferenceError]) -> None:
    async with Origin() as origin, fetching(origin.allow) as fetcher:
        with pytest.raises(InferenceError) as failure:
            await fetcher.fetch(origin.answer("/a", reply))
        assert type(failure.value) is kind

        assert await fetcher.fetch(origin.serve("/next", b"well")) == b"well"


async def test_content_encoding_identity_is_no_coding() -> None:
    async with Origin() as origin, fetching(origin.allow) as fetcher:
        url = origin.answer("/a", Reply(body=BODY, headers={"Content-Encoding": "Identity"}))

        assert await fetcher.fetch(url) == BODY


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n", OriginBroken),
        (b"<html>no status line: HTTP/0.9</html>\r\n\r\n", OriginBroken),
        (b"HTTP/3.7 two hundred\r\n\r\n", OriginBroken),
        (b"SSH-2.0-OpenSSH_9.9\r\n", OriginBroken),
        (HEAD + b"Content-Length: -1\r\n\r\nabc", OriginBroken),
        (HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", OriginBroken),
        (HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", OriginBroken),
        (HEAD + b"Content-Length: three\r\n\r\nabc", OriginBroken),
        (HEAD + b"Content-Length: 1000000000000000000\r\n\r\nabc", ImageTooLarge),
        (HEAD + b"X: " + b"a" * (1 << 20) + b"\r\n\r\n", OriginBroken),
        (HEAD + b"X: a\r\n" * 100_000 + b"\r\n", OriginBroken),
        (HEAD + b"Content-Length: 9\r\n\r\nabc", OriginUnavailable),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\nabc", OriginUnavailable),
        (HEAD + b"Content-Length: 3\r\n", OriginUnavailable),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", OriginBroken),
    ],
)
async def test_what_is_hardly_http_has_an_error_too(answer: bytes, kind: type[InferenceError]) -> None:
    async with answering(answer) as origin, fetching(origin.allow) as fetcher:
        with pytest.raises(InferenceError) as failure:
            await fetcher.fetch(origin.url("/a?sig=canary"))

    assert type(failure.value) is kind


async def test_bytes_past_the_declared_length_are_not_taken_for_the_next_answer() -> None:
    smuggled = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    answer = HEAD + b"Content-Length: 3\r\n\r\nabc" + smuggled
    hold = asyncio.Event()
    async with answering(answer, hold=hold) as origin, fetching(origin.allow) as fetcher:
        url = origin.url("/a")

        assert [await fetcher.fetch(url), await fetcher.fetch(url)] == [b"abc", b"abc"]
        assert origin.connections == 2
        hold.set()


async def test_a_body_without_a_length_ends_where_the_connection_does() -> None:
    async with answering(HEAD + b"\r\nabc") as origin, fetching(origin.allow) as fetcher:
        assert await fetcher.fetch(origin.url("/")) == b"abc"


async def test_nobody_listening_is_unavailable() -> None:
    async with Origin() as origin:
        url, allow = origin.serve("/a", BODY), origin.allow

    async with fetching(allow) as fetcher:
        with pytest.raises(OriginUnavailable, match="cannot be reached"):
            await fetcher.fetch(url)


@pytest.mark.parametrize(("status", "kind"), [(429, OriginThrottled), (503, OriginUnavailable)])
async def test_retry_after_is_passed_on(status: int, kind: type[InferenceError]) -> None:
    async with Origin() as origin, fetching(origin.allow) as fetcher:
        with pytest.raises(kind) as failure:
            await fetcher.fetch(origin.answer("/a", Reply(status=status, headers={"Retry-After": "7"})))

    assert failure.value.retry_after_seconds == 7.0
    assert failure.value.retryable


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_may_have_as_many_bytes_as_the_limit_and_no_more(chunked: bool) -> None:
    headers = {"Transfer-Encoding": "chunked"} if chunked else {}
    async with Origin() as origin, fetching(origin.allow, max_image_bytes=1000) as fetcher:
        assert await fetcher.fetch(origin.answer("/a", Reply(body=b"x" * 1000, headers=headers))) == b"x" * 1000
        with pytest.raises(ImageTooLarge, match="more than 1000 bytes"):
            await fetcher.fetch(origin.answer("/b", Reply(body=b"x" * 1001, headers=headers)))


async def test_a_declared_length_over_the_limit_is_refused_without_reading_the_body() -> None:
    never = asyncio.Event()
    async with Origin() as origin, fetching(origin.allow, max_image_bytes=1000) as fetcher:
        with pytest.raises(ImageTooLarge):
            await fetcher.fetch(origin.answer("/a", Reply(body=b"x" * 1001, hold_body=never)))


async def test_a_body_without_an_end_is_given_up_at_the_limit() -> None:
    endless = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + (b"400\r\n" + b"x" * 1024 + b"\r\n") * 64
    never = asyncio.Event()
    async with answering(endless, hold=never) as origin, fetching(origin.allow, max_image_bytes=2000) as fetcher:
        with pytest.raises(ImageTooLarge):
            await fetcher.fetch(origin.url("/"))


@pytest.mark.parametrize(
    "stall",
    [
        lambda never: Reply(body=BODY, hold=never),
        lambda never: Reply(body=BODY, hold_body=never),
        lambda _: Reply(body=BODY, drip_seconds=0.005),
        lambda never: Reply(status=302, headers={"Location": "/next"}, hold=never),
    ],
    ids=["no answer", "half a body", "a drip", "no redirect"],
)
@pytest.mark.parametrize(
    ("limit", "deadline", "error"),
    [(0.05, None, OriginTimeout), (0.05, 600.0, OriginTimeout), (600.0, 0.05, DeadlineExceeded)],
    ids=["the limit's", "the limit's before the caller's", "the caller's"],
)
async def test_an_origin_that_stalls_is_given_up_at_the_deadline(
    stall: Callable[[asyncio.Event], Reply], limit: float, deadline: float | None, error: type[InferenceError]
) -> None:
    async with Origin() as origin, fetching(origin.allow, timeout_seconds=limit) as fetcher:
        url = origin.answer("/a", stall(asyncio.Event()))
        with pytest.raises(error):
            await fetcher.fetch(url, deadline_seconds=deadline)


async def test_redirects_share_one_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    clock, skew = loop.time, [0.0]
    monkeypatch.setattr(loop, "time", lambda: clock() + skew[0])
    first, second = asyncio.Event(), asyncio.Event()
    async with Origin() as origin, fetching(origin.allow, timeout_seconds=30) as fetcher:
        origin.answer("/a", Reply(status=302, headers={"Location": "/b"}, hold=first))
        origin.answer("/b", Reply(body=BODY, hold=second))
        fetch = asyncio.create_task(fetcher.fetch(origin.url("/a")))
        for answer in (first, second):
            await origin.asked.wait()
            origin.asked.clear()
            skew[0] += 20  # no hop takes 30 seconds, the two together do
            answer.set()

        with pytest.raises(OriginTimeout):
            await fetch
        assert origin.hits == {"/a": 1, "/b": 1}


async def test_headers_without_an_end_are_given_up_at_the_deadline() -> None:
    never = asyncio.Event()
    endless = HEAD + b"X-Never: "
    async with answering(endless, hold=never) as origin, fetching(origin.allow, timeout_seconds=0.05) as fetcher:
        with pytest.raises(OriginTimeout):
            await fetcher.fetch(origin.url("/"))


async def test_a_name_server_that_does_not_answer_is_given_up() -> None:
    zone = Zone()
    zone.answer("slow.example", asyncio.Event())
    async with fetching(zone=zone, dns_timeout_seconds=0.01) as fetcher:
        with pytest.raises(OriginTimeout, match="host name took too long"):
            await fetcher.fetch("https://slow.example/a")


async def test_a_name_without_addresses_is_not_tried_again_and_a_failed_look_up_is() -> None:
    zone = Zone(empty_example=[], failing_example=OSError("SERVFAIL"))
    async with fetching(zone=zone) as fetcher:
        with pytest.raises(OriginBroken, match="has no address"):
            await fetcher.fetch("https://empty.example/a")
        with pytest.raises(OriginUnavailable, match="could not be looked up"):
            await fetcher.fetch("https://failing.example/a")


def chain(exc: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and everything that a traceback of it could show."""
    while exc is not None:
        yield exc
        exc = exc.__cause__ or exc.__context__


SECRET_PATH = "/a?sig=canary-signature&b=canary"
FAULTS = (
    Reply(status=403),
    Reply(status=404),
    Reply(status=429),
    Reply(status=500),
    Reply(status=204),
    Reply(status=302, headers={"Location": "http://u:canary@example.com/?canary"}),
    Reply(status=302, headers={"Location": "https:canary"}),
    Reply(status=302, headers={"Location": "/a?sig=canary-signature&b=canary"}),
    Reply(body=BODY, close_after=10),
    Reply(body=BODY, reset_after=10),
    Reply(body=b"x" * 2000),
    Reply(body=BODY, headers={"Content-Encoding": "canary"}),
    Reply(body=b"x" * 900, drip_seconds=0.005),
)


@pytest.mark.parametrize("reply", FAULTS, ids=range(len(FAULTS)))
async def test_no_failure_shows_the_query(reply: Reply, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    timeout = 15 if reply.drip_seconds is None else 0.2
    async with Origin() as origin, fetching(origin.allow, max_image_bytes=1000, timeout_seconds=timeout) as fetcher:
        origin.answer("/a", reply)
        with pytest.raises(InferenceError) as failure:
            await fetcher.fetch(origin.url(SECRET_PATH))

    ours = [record for record in caplog.records if not record.name.startswith("aiohttp.access")]
    assert origin.requests[0].target == SECRET_PATH
    assert not any("canary" in repr(exc) for exc in chain(failure.value))
    assert not any("canary" in repr(record.__dict__) for record in ours)


@pytest.mark.parametrize(
    "answer", [b"canary nonsense\r\n\r\n", HEAD + b"X: canary\x00\r\n\r\n", HEAD + b"Content-Length: x\r\n\r\n"]
)
async def test_no_broken_answer_shows_the_query(answer: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with answering(answer) as origin, fetching(origin.allow) as fetcher:
        with pytest.raises(OriginBroken) as failure:
            await fetcher.fetch(origin.url(SECRET_PATH))

    assert not any("canary" in repr(exc) for exc in chain(failure.value))
    assert "canary" not in caplog.text
