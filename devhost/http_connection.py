"""Owns one client's connection: cuts it into requests with llhttp, has them answered in order, writes the replies.

It answers by itself what is no request, within the limits of Kestrel, the server of the real host. It refuses to know
what a request is for.
"""

import asyncio
import traceback
from collections import deque
from typing import Protocol, cast

import httptools
from msgspec import Struct

from devhost import console
from devhost.http_body import RequestBody
from devhost.http_messages import Handler, Request, Response
from devhost.http_replies import encode_response
from devhost.http_targets import is_host, normalize_target

#: KestrelServerLimits: MaxRequestLineSize and MaxRequestHeadersTotalSize.
MAX_REQUEST_LINE_BYTES = 8 * 1024
MAX_HEADERS_BYTES = 32 * 1024
#: KestrelServerLimits.MaxRequestHeaderCount.
MAX_HEADERS = 100

#: Of HTTP/1; what comes over a plain connection in another is refused.
_VERSIONS = frozenset({"1.0", "1.1"})

#: KestrelServerLimits.KeepAliveTimeout, for a client from which nothing comes and which waits for nothing.
SILENT_SECONDS = 130.0

#: How long what a client still sends after its last reply is read and dropped: a socket that is closed before would be
#: reset, and the reply lost with it.
LINGER_SECONDS = 5.0

#: Requests of one client that are read ahead of the one that is answered.
_MAX_AHEAD = 8

_PER_HEADER_BYTES = len(": \r\n")


class _Refused(Exception):
    """What comes is not to be read on, and is answered with `status`."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Exchange(Struct, eq=False):
    """One request and what its reply must respect."""

    request: Request
    body: RequestBody
    version: str
    keeps_alive: bool


class ConnectionWatcher(Protocol):
    """Who keeps account of the connections."""

    def note_opened(self, connection: "HttpConnection") -> None:
        """Take note of a connection that may be used from now on."""

    def note_closed(self, connection: "HttpConnection") -> None:
        """Take note that it is gone."""


class HttpConnection(asyncio.Protocol):
    """One connection. The methods `on_…` are the parser's callbacks."""

    def __init__(self, handler: Handler, body_limit_bytes: int, watcher: ConnectionWatcher) -> None:
        self._handler = handler
        self._body_limit_bytes = body_limit_bytes
        self._watcher = watcher
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._active_at = self._loop.time()
        #: Bytes of the reads since the one with a head, or a piece of a body, in it; and what is read of the next head.
        self._head_bytes = 0
        self._header_bytes = 0
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        #: The body that is coming in.
        self._body: RequestBody | None = None
        #: What is to be answered, in order, after what is being answered; a response is an answer already.
        self._waiting: deque[_Exchange | Response] = deque()
        self._answering: asyncio.Task[None] | None = None
        self._is_starting = False
        self._is_writing_paused = False
        #: No further request is taken.
        self._is_ended = False
        #: Nothing more is written.
        self._is_closed = False
        #: The head of a request that would have the connection upgraded, without that wish.
        self._plain_head: bytes | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._timer = self._loop.call_later(SILENT_SECONDS, self._look_for_silence)
        self._watcher.note_opened(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._is_ended = True
        self._transport = None
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._body is not None:
            self._body.abandon()
        self._watcher.note_closed(self)

    def data_received(self, data: bytes) -> None:
        self._active_at = self._loop.time()
        if self._is_ended and self._body is None:
            return
        self._head_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause.status if isinstance(cause, _Refused) else 400)
        else:
            if self._head_bytes > MAX_REQUEST_LINE_BYTES + MAX_HEADERS_BYTES:
                self._refuse(431)  # one header or trailer that does not end
        self._answer_next()
        self._choose_reading()

    def eof_received(self) -> bool:
        """Return whether the connection stays open: a client may close its side and wait for the answer."""
        self._is_ended = True
        self._drop_unfinished()
        if self._body is not None:  # that of the request that is being answered
            self._body.abandon()
            self._body = None
        is_wanted = self._answering is not None or bool(self._waiting)
        if not is_wanted:
            self._close()
        return is_wanted

    def pause_writing(self) -> None:
        self._is_writing_paused = True
        self._choose_reading()

    def resume_writing(self) -> None:
        self._is_writing_paused = False
        self._answer_next()
        self._choose_reading()

    def end(self) -> None:
        """Take no further request, and close the connection once those that were begun are answered."""
        self._is_ended = True
        if self._answering is None and not self._waiting:
            self._close()

    def cut_short(self) -> None:
        """Close the connection at once, unless a request of its is being answered."""
        if self._answering is None and self._transport is not None:
            self._transport.abort()

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if self._plain_head is None:
                    self._is_ended = True  # CONNECT: what follows is no HTTP
                    return
                # A Functions app upgrades nothing: the request is read again as a plain one, of which llhttp would
                # leave out the body. Java's HttpClient asks for HTTP/2 so, and curl --http2.
                self._parser = httptools.HttpRequestParser(self)
                data = self._plain_head + data[upgrade.args[0] :]
                self._plain_head = None
            else:
                return

    def on_message_begin(self) -> None:
        self._target = b""
        self._headers = []
        self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._target += url
        if len(self._target) > MAX_REQUEST_LINE_BYTES:
            raise _Refused(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))
        self._header_bytes += len(name) + len(value) + _PER_HEADER_BYTES
        if self._header_bytes > MAX_HEADERS_BYTES or len(self._headers) > MAX_HEADERS:
            raise _Refused(431)

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        if self._is_ended:
            return
        method = self._parser.get_method()
        if self._parser.should_upgrade() and method != b"CONNECT":
            kept = [name + b": " + value for name, value in self._headers if name.lower() != b"upgrade"]
            first = b"%b %b HTTP/%b" % (method, self._target, self._parser.get_http_version().encode())
            self._plain_head = b"\r\n".join([first, *kept, b"", b""])
            return
        headers: dict[str, str] = {}
        hosts = 0
        for raw_name, raw_value in self._headers:
            name = raw_name.decode("latin-1").lower()
            hosts += name == "host"
            value = raw_value.decode().rstrip(" \t")  # what is no UTF-8 is an error of the parser's, as for Kestrel
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        version = self._parser.get_http_version()
        if version not in _VERSIONS:
            raise _Refused(505)
        host = headers.get("host")
        if hosts > 1 or (version == "1.1" and not hosts) or not is_host(host or ""):
            raise _Refused(400)  # RFC 9112, section 3.2
        target = normalize_target(self._target.decode("latin-1"), host)  # what is none is an error of the parser's too
        # HTTP/1.0 has no reply before the reply (RFC 9110, section 10.1.1).
        sends_no_sooner = headers.get("expect", "").lower() == "100-continue" and version != "1.0"
        body = RequestBody(self._body_limit_bytes, self._write_continue if sends_no_sooner else None)
        length = headers.get("content-length")
        body.announce(int(length or 0))
        request = Request(method.decode(), target, headers, body.read, length is not None)
        self._waiting.append(_Exchange(request, body, version, self._parser.should_keep_alive()))
        self._body = body

    def on_body(self, chunk: bytes) -> None:
        self._head_bytes = 0
        if self._body is not None:
            self._body.add(chunk)

    def on_message_complete(self) -> None:
        if self._body is not None:
            self._body.finish()
            self._body = None
        self._head_bytes = 0

    def _answer_next(self) -> None:
        if self._is_starting:
            return  # the loop below goes on by itself; within it, each answer would be begun inside the one before
        self._is_starting = True
        while self._answering is None and self._waiting and not self._is_writing_paused:
            first = self._waiting[0]
            if isinstance(first, Response):
                self._write(first, is_head=False, version="1.1", keeps_alive=False)
                self._close(is_sending=True)
            elif first.body.can_be_answered:
                self._waiting.popleft()
                # Started at once, not at the loop's next turn.
                task = asyncio.Task(self._answer(first), loop=self._loop, eager_start=True)
                if not task.done():
                    self._answering = task
            else:
                break
        self._is_starting = False

    async def _answer(self, exchange: _Exchange) -> None:
        request = exchange.request
        try:
            response = await self._handler(request)
        except asyncio.CancelledError:  # the rest of the body will not come
            self._answering = None
            self._answer_next()
            if self._is_ended and self._answering is None and not self._waiting:
                self._close()
            return
        except Exception:
            console.log(f"The host failed at {request.method} {request.raw_path}:\n{traceback.format_exc()}")
            response = Response(500)
        self._answering = None
        self._active_at = self._loop.time()
        # What still comes of the body would have to be read before the next request.
        keeps_alive = exchange.keeps_alive and exchange.body.is_whole and not (self._is_ended and not self._waiting)
        self._write(response, is_head=request.method == "HEAD", version=exchange.version, keeps_alive=keeps_alive)
        if keeps_alive:
            self._answer_next()
            self._choose_reading()
        else:
            self._close(is_sending=not exchange.body.is_whole)

    def _refuse(self, status: int) -> None:
        self._is_ended = True
        self._drop_unfinished()
        if self._body is not None:
            self._body.abandon()
            self._body = None
        if not self._is_closed:
            self._waiting.append(Response(status))

    def _drop_unfinished(self) -> None:
        """Forget a request that waits for its own rest."""
        if self._waiting and isinstance(last := self._waiting[-1], _Exchange) and not last.body.is_whole:
            self._waiting.pop()
            self._body = None

    def _write(self, response: Response, *, is_head: bool, version: str, keeps_alive: bool) -> None:
        if self._transport is None or self._is_closed:
            return
        # Not writelines, which in CPython 3.13.0 and .1 never asks to pause (CVE-2024-12254).
        self._transport.write(encode_response(response, is_head=is_head, version=version, keeps_alive=keeps_alive))

    def _write_continue(self) -> None:
        if self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _choose_reading(self) -> None:
        if self._transport is not None:
            if self._is_writing_paused or len(self._waiting) > _MAX_AHEAD:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _look_for_silence(self) -> None:
        # Of the request that is being answered, or of one after it.
        is_patient = self._answering is not None and (self._body is None or bool(self._waiting))
        silent = 0.0 if is_patient else self._loop.time() - self._active_at
        if silent >= SILENT_SECONDS:
            self._close()
        else:
            self._timer = self._loop.call_later(SILENT_SECONDS - silent, self._look_for_silence)

    def _close(self, *, is_sending: bool = False) -> None:
        """Close the connection when what was written is sent; what a client still sends is dropped."""
        self._is_ended = True
        self._waiting.clear()
        self._body = None
        if self._transport is None or self._is_closed:
            return
        self._is_closed = True
        if not is_sending:
            self._transport.close()
            return
        self._transport.write_eof()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(LINGER_SECONDS, self._transport.close)
