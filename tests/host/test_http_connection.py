"""The host's HTTP server on a socket of its own: framing, order, limits and endings, as bytes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from devhost import http_connection
from devhost.http_messages import BodyTooLarge, Request, Response
from devhost.serving import HttpServer
from tests.hosting import DEADLINE_SECONDS

BODY_LIMIT_BYTES = 1000
LARGE_BYTES = 1_000_000


@dataclass
class Answers:
    """A handler that echoes, notes what it was asked, and can be made to wait or fail."""

    seen: list[Request] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    is_slow: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, request: Request) -> Response:
        self.seen.append(request)
        match request.path:
            case "/broken":
                raise RuntimeError("a bug")
            case "/refused":
                return Response(401)
            case "/slow":
                self.is_slow.set()
                await self.gate.wait()
            case "/large":
                return Response(200, [], bytes(LARGE_BYTES))
            case path if path.startswith("/status/"):
                return Response(int(path.removeprefix("/status/")), [], b"never sent")
        try:
            body = await request.read()
        except BodyTooLarge:
            return Response(413)
        return Response(200, [("X-Own", "ü")], request.path.encode() + b":" + body)


@pytest.fixture
def answers() -> Answers:
    answers = Answers()
    answers.gate.set()
    return answers


@pytest.fixture
async def server(answers: Answers) -> AsyncIterator[HttpServer]:
    server = HttpServer(answers, BODY_LIMIT_BYTES)
    yield server
    await server.drain()


@pytest.fixture
async def port(server: HttpServer) -> int:
    listener = socket.create_server(("127.0.0.1", 0))
    await server.start(listener)
    number: int = listener.getsockname()[1]
    return number


async def exchange(port: int, *pieces: bytes, is_half_closed: bool = False) -> bytes:
    """Send pieces, each as a segment of its own, and return all that comes back until the server closes its side."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    if is_half_closed:
        writer.write_eof()
    try:
        return await asyncio.wait_for(reader.read(), DEADLINE_SECONDS)
    finally:
        writer.close()


def request(target: str, *headers: str, body: bytes = b"", method: str = "POST", version: str = "1.1") -> bytes:
    lines = [f"{method} {target} HTTP/{version}", "Host: localhost", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


LAST = "Connection: close"


def statuses(reply: bytes) -> list[int]:
    return [int(part[:3]) for part in reply.split(b"HTTP/1.1 ")[1:]]


async def test_a_reply_is_framed_and_dated(port: int) -> None:
    reply = await exchange(port, request("/a", LAST, body=b"12345"))

    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nDate: ")
    assert b"\r\nServer: Kestrel\r\nX-Own: \xc3\xbc\r\nContent-Length: 8\r\nConnection: close" in head
    assert body == b"/a:12345"


async def test_pieces_of_a_request_are_put_together(port: int) -> None:
    whole = request("/pieces", LAST, body=b"body")

    reply = await exchange(port, *(whole[i : i + 1] for i in range(len(whole))))

    assert reply.endswith(b"/pieces:body")


async def test_pipelined_requests_are_answered_in_order_while_the_first_one_waits(port: int, answers: Answers) -> None:
    answers.gate.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("/slow") + b"".join(request(f"/{number}") for number in range(20)) + request("/last", LAST))
    await answers.is_slow.wait()
    assert [seen.path for seen in answers.seen] == ["/slow"]

    answers.gate.set()

    reply = await asyncio.wait_for(reader.read(), DEADLINE_SECONDS)
    writer.close()
    bodies = [part.partition(b"\r\n\r\n")[2] for part in reply.split(b"HTTP/1.1 ")[1:]]
    assert bodies == [b"/slow:", *(f"/{number}:".encode() for number in range(20)), b"/last:"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x00\x01\x02\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\nhost: a\r\n\r\n", 400),
        *(
            (b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host, 400)
            for host in (b"a b", b"a/b", b"u@a", b"a:", b"a:x", b"[::1")
        ),
        (b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /a%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: %b\r\n" % (b"a" * 500) * 70 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 100 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 50_000, 431),  # and on, without an end
    ],
)
async def test_what_is_no_request_is_refused_and_the_connection_closed(
    port: int, answers: Answers, sent: bytes, status: int
) -> None:
    reply = await exchange(port, sent)

    assert statuses(reply) == [status]
    assert b"\r\nConnection: close\r\n" in reply
    assert not answers.seen


async def test_what_came_before_something_unreadable_is_answered(port: int) -> None:
    assert statuses(await exchange(port, request("/a") + b"\x00\r\n\r\n")) == [200, 400]


async def test_a_body_over_the_limit_is_refused_before_it_has_come(port: int) -> None:
    head = request("/a", f"Content-Length: {BODY_LIMIT_BYTES + 1}")

    assert statuses(await exchange(port, head, b"x" * 400)) == [413]


async def test_a_chunked_body_over_the_limit_is_refused_when_it_is(port: int) -> None:
    chunk = b"190\r\n" + b"x" * 400 + b"\r\n"

    assert statuses(await exchange(port, request("/a", "Transfer-Encoding: chunked"), chunk, chunk, chunk)) == [413]


async def test_a_chunked_body_is_put_together_and_has_no_length(port: int, answers: Answers) -> None:
    head = request("/a", LAST, "Transfer-Encoding: chunked")

    reply = await exchange(port, head, b"3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n")

    assert reply.endswith(b"/a:abcde")
    assert not answers.seen[0].has_length


async def test_who_asks_before_sending_a_body_is_told_to_go_on_only_where_it_is_read(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("/a", "Expect: 100-continue", "Content-Length: 2", LAST))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"ab")
    assert (await reader.read()).endswith(b"/a:ab")
    writer.close()

    refused = request("/refused", "Expect: 100-continue", "Content-Length: 2")
    assert statuses(await exchange(port, refused)) == [401]

    old = request("/a", "Expect: 100-continue", "Content-Length: 2", version="1.0")
    assert statuses(await exchange(port, old, b"a", b"b")) == [200]


@pytest.mark.parametrize("status", [204, 205, 304])
async def test_a_status_without_a_body_is_sent_without_one(port: int, status: int) -> None:
    reply = await exchange(port, request(f"/status/{status}") + request("/next", LAST))

    assert statuses(reply) == [status, 200]
    assert b"never sent" not in reply


async def test_head_gets_the_length_and_no_body(port: int) -> None:
    reply = await exchange(port, request("/a", LAST, method="HEAD"))

    assert b"\r\nContent-Length: 3\r\n" in reply
    assert reply.endswith(b"\r\n\r\n")


async def test_http_1_0_is_closed_unless_it_asks_otherwise(port: int) -> None:
    once = request("/a", version="1.0")
    twice = request("/a", "Connection: keep-alive", version="1.0")

    assert b"\r\nConnection: close\r\n" in await exchange(port, once)
    reply = await exchange(port, twice + once)
    assert statuses(reply) == [200, 200]
    assert b"\r\nConnection: keep-alive\r\n" in reply


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/a%20b/?x=1&x=&y=%26", "/a b/", [("x", "1"), ("x", ""), ("y", "&")]),
        ("http://localhost/a?b=c", "/a", [("b", "c")]),
        ("http://LOCALHOST:80", "/", []),
        ("*", "*", []),
        ("/../a/./b/../c?x=/../y", "/a/c", [("x", "/../y")]),
        ("/a/%2E./b/%2e", "/b/", []),
        ("/a/..", "/", []),
        ("/a//../.b/c..", "/a/.b/c..", []),
        ("/a/..%2Fb", "/a/../b", []),
    ],
)
async def test_every_form_of_a_target_is_understood(
    port: int, answers: Answers, target: str, path: str, query: list[tuple[str, str]]
) -> None:
    await exchange(port, request(target, LAST, method="OPTIONS"))

    assert (answers.seen[0].path, answers.seen[0].query) == (path, query)


@pytest.mark.parametrize("host", ["", "a.b:1", "[::1]:7071", "127.0.0.1", "a_b-c~1"])
async def test_every_form_of_a_host_is_understood(port: int, host: str) -> None:
    assert statuses(await exchange(port, f"GET / HTTP/1.1\r\nHost: {host}\r\n{LAST}\r\n\r\n".encode())) == [200]


async def test_as_many_headers_as_kestrel_takes_are_taken(port: int) -> None:
    assert statuses(await exchange(port, request("/a", LAST, *["X: 1"] * 98))) == [200]


async def test_repeated_headers_are_joined_and_names_are_lower_case(port: int, answers: Answers) -> None:
    await exchange(port, request("/a", "X-Twice: 1", "x-twice:  2 ", LAST))

    assert answers.seen[0].headers == {"host": "localhost", "x-twice": "1,2", "connection": "close"}


async def test_a_bug_of_the_handler_is_a_500_and_the_connection_goes_on(
    port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert statuses(await exchange(port, request("/broken") + request("/a", LAST))) == [500, 200]
    assert "RuntimeError: a bug" in capsys.readouterr().out


async def test_an_upgrade_is_answered_as_a_plain_request(port: int) -> None:
    whole = request("/a", "Connection: upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMA", body=b"body")

    for pieces in ([whole + request("/b", LAST)], [whole[:40], whole[40:], request("/b", LAST)]):
        reply = await exchange(port, *pieces)
        assert statuses(reply) == [200, 200]
        assert b"/a:body" in reply


async def test_what_follows_a_connect_is_not_read(port: int) -> None:
    assert statuses(await exchange(port, request("other:443", method="CONNECT") + b"\x16\x03")) == [200]


async def test_any_number_of_requests_at_once_is_answered(port: int) -> None:
    reply = await exchange(port, request("/refused", method="GET") * 3000 + request("/a", LAST))

    assert statuses(reply) == [401] * 3000 + [200]


async def test_no_more_is_answered_than_the_client_reads(port: int, answers: Answers) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(request("/large", method="GET") * 100 + request("/last", LAST))
    # The system's own buffers take some of it; the rest waits until it is read.
    for _ in range(100):
        await asyncio.sleep(0.001)
    assert 0 < len(answers.seen) < 50

    received = 0
    while chunk := await reader.read(1 << 20):
        received += len(chunk)
    writer.close()

    assert len(answers.seen) == 101
    assert received > 100 * LARGE_BYTES


async def test_an_answer_is_not_lost_with_the_next_request_that_breaks_off(port: int, answers: Answers) -> None:
    answers.gate.clear()
    broken_off = request("/slow") + request("/b", "Content-Length: 9") + b"1234"
    exchanging = asyncio.create_task(exchange(port, broken_off, is_half_closed=True))
    await answers.is_slow.wait()
    answers.gate.set()

    assert statuses(await exchanging) == [200]
    assert [seen.path for seen in answers.seen] == ["/slow"]


async def test_an_upload_that_is_under_way_when_draining_begins_is_answered(
    port: int, answers: Answers, server: HttpServer
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("/first") + request("/upload", "Content-Length: 9") + b"1234")
    await reader.readuntil(b"/first:")

    draining = asyncio.create_task(server.drain())
    await asyncio.sleep(0)
    writer.write(b"56789" + request("/too-late"))

    assert (await reader.read()).endswith(b"/upload:123456789")
    writer.close()
    await asyncio.wait_for(draining, DEADLINE_SECONDS)
    assert [seen.path for seen in answers.seen] == ["/first", "/upload"]


@pytest.mark.parametrize("trailers", [b"a: 1\r\n" * 20_000, b"a: " + b"1" * 1_000_000])
async def test_trailers_have_the_limit_of_headers(port: int, trailers: bytes) -> None:
    reply = await exchange(port, request("/a", "Transfer-Encoding: chunked"), b"0\r\n" + trailers)

    assert statuses(reply) == [431]


async def test_what_comes_after_the_last_answer_is_dropped(port: int) -> None:
    head = request("/a", "Transfer-Encoding: chunked")
    too_much = b"3ff\r\n" + b"x" * 1023 + b"\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head + too_much)
    assert statuses(await reader.read()) == [413]

    writer.write(b"unreadable\r\n")
    await writer.drain()
    writer.write(request("/b"))
    writer.close()


async def test_a_client_that_closed_its_side_still_gets_its_answer(port: int, answers: Answers) -> None:
    answers.gate.clear()
    exchanging = asyncio.create_task(exchange(port, request("/slow"), is_half_closed=True))
    await answers.is_slow.wait()
    answers.gate.set()

    assert statuses(await exchanging) == [200]


async def test_a_client_that_leaves_in_the_middle_of_its_body_leaves_nothing_behind(
    port: int, answers: Answers, server: HttpServer
) -> None:
    waiting = request("/a", "Expect: 100-continue", "Content-Length: 9")

    assert statuses(await exchange(port, waiting, b"1234", is_half_closed=True)) == [100]
    assert await exchange(port, request("/b", "Content-Length: 9"), b"1234", is_half_closed=True) == b""
    assert [seen.path for seen in answers.seen] == ["/a"]
    await server.drain()


async def test_a_silent_client_is_let_go(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "SILENT_SECONDS", 0.05)
    monkeypatch.setattr(http_connection, "LINGER_SECONDS", 0.05)

    assert await exchange(port) == b""
    monkeypatch.setattr(http_connection, "SILENT_SECONDS", 0.5)  # long enough to send something first
    assert statuses(await exchange(port, request("/a"))) == [200]
    assert await exchange(port, b"GET / HT") == b""


async def test_draining_answers_what_is_under_way_and_lets_idle_clients_go(
    port: int, answers: Answers, server: HttpServer
) -> None:
    answers.gate.clear()
    idle = asyncio.create_task(exchange(port))
    busy = asyncio.create_task(exchange(port, request("/slow")))
    await answers.is_slow.wait()

    draining = asyncio.create_task(server.drain())

    assert await idle == b""
    assert not draining.done()
    answers.gate.set()
    reply = await busy
    assert statuses(reply) == [200]
    assert b"\r\nConnection: close\r\n" in reply
    await asyncio.wait_for(draining, DEADLINE_SECONDS)
    with pytest.raises(OSError):
        await exchange(port)
