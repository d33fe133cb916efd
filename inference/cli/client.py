"""The service's HTTP API as a caller sees it: JSON in, JSON out, failures as one sentence.

It refuses to know any route but its prefix, and to try again: commands decide that.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse, IncompleteRead
from ipaddress import ip_address
from typing import Any, cast
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import (
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

from inference.cli.failure import ExitCode, Failure, WrongCall
from inference.redaction import redact_url

#: Statuses that say the call was wrong; every other error means that the work failed.
_WRONG_CALL_STATUSES = frozenset({301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 409, 413, 415})
#: Longer than Container Apps ingress keeps a request (240 s).
_TIMEOUT_SECONDS = 300.0
_CHUNK_BYTES = 256 * 1024
#: Of results that are asked for at once: worker and host hold a reply whole.
_RANGE_BYTES = 32 * 1024 * 1024

type Query = Mapping[str, str | float | None]


class Refused(Failure):
    """The service answered with an error."""

    def __init__(self, status: int, sentence: str, code: str) -> None:
        exit_code = ExitCode.WRONG_CALL if status in _WRONG_CALL_STATUSES else ExitCode.WORK_FAILED
        super().__init__(f"{sentence} ({code})" if code else sentence, exit_code)
        self.status = status
        self.sentence = sentence
        self.code = code


class _NoRedirects(HTTPRedirectHandler):
    """The key is for --url alone, and urllib would make a GET of a redirected POST."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Unreachable(Failure):
    """Nothing answered."""


class _Reply(dict[str, Any]):
    """An object that the service replied; asked for a field that all such replies have, somebody else's fails."""

    def __init__(self, fields: dict[str, Any], url: str) -> None:
        super().__init__(fields)
        self._url = url

    def __missing__(self, _: str) -> None:
        raise _NotTheService(self._url)


class _NotTheService(Failure):
    """Something answered that is not this service."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{url} does not answer like this service; is --url right?")


class Client:
    """One service, at its url."""

    def __init__(self, url: str, key: str = "") -> None:
        self.url = _check_url(url)
        self._headers = {"accept": "application/json", "user-agent": "onnxfn"}
        if key := _check_key(key):
            self._headers["x-functions-key"] = key
        self._opener = _make_opener(self.url)

    def read_json(self, path: str, query: Query | None = None) -> dict[str, Any]:
        """GET `path` (below `/api`). Raises Refused, Unreachable."""
        return self.call("GET", path, query=query)

    def send_json(self, method: str, path: str, value: object) -> dict[str, Any]:
        """Send `value` as JSON. Raises Refused, Unreachable."""
        return self.call(method, path, body=json.dumps(value).encode(), content_type="application/json")

    def call(
        self, method: str, path: str, *, query: Query | None = None, body: bytes | None = None, content_type: str = ""
    ) -> dict[str, Any]:
        """Make one call and return its reply, a JSON object. Raises Refused, Unreachable."""
        value = self.call_any(method, path, query=query, body=body, content_type=content_type)
        if not isinstance(value, dict):
            raise _NotTheService(self.url)
        return _Reply(value, self.url)

    def call_any(
        self, method: str, path: str, *, query: Query | None = None, body: bytes | None = None, content_type: str = ""
    ) -> Any:
        """Make one call and return its JSON reply, of any kind: a `score.py` answers what it likes."""
        with self._open(method, path, query, body, content_type) as response:
            data = response.read()
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise _NotTheService(self.url) from None

    def stream(self, path: str, query: Query | None = None) -> Iterator[bytes]:
        """GET `path` and yield its body in pieces. Raises Refused, Unreachable, also when the body is cut off."""
        with self._open("GET", path, query) as response:
            yield from self._chunks(response)

    def stream_ranges(self, path: str, query: Query | None = None) -> Iterator[bytes]:
        """As `stream`, in ranges of what the service can hold, however much there is. Errors: see `stream`.

        Raises Failure when something else stands there by the next range.
        """
        begin, total, etag = 0, 1, ""
        while begin < total:
            wanted = {"range": f"bytes={begin}-{begin + _RANGE_BYTES - 1}", **({"if-range": etag} if etag else {})}
            with self._open("GET", path, query, headers=wanted) as response:
                if response.status != HTTPStatus.PARTIAL_CONTENT:
                    if begin:
                        raise Failure("The results were written anew while they were read; ask for them again.")
                    yield from self._chunks(response)
                    return
                total, etag = _total_of(response.headers["Content-Range"]), response.headers["ETag"] or ""
                before = begin
                for chunk in self._chunks(response):
                    begin += len(chunk)
                    yield chunk
                if begin == before:
                    raise IncompleteRead(b"", total - begin)

    def _chunks(self, response: HTTPResponse) -> Iterator[bytes]:
        if response.headers.get_content_type() == "text/html":  # a proxy's page to sign in, or another site
            raise _NotTheService(self.url)
        while chunk := response.read(_CHUNK_BYTES):
            yield chunk
        if response.length:  # what is missing; read() in pieces does not complain of it
            raise IncompleteRead(b"", response.length)

    @contextmanager
    def _open(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: bytes | None = None,
        content_type: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[HTTPResponse]:
        chosen = {name: value for name, value in (query or {}).items() if value is not None}
        url = f"{self.url}/api{path}" + (f"?{urlencode(chosen)}" if chosen else "")
        sent = {**self._headers, **(headers or {}), **({"content-type": content_type} if content_type else {})}
        request = Request(url, data=body, headers=sent, method=method)  # noqa: S310 -- _check_url saw the scheme
        try:
            with cast("HTTPResponse", self._opener.open(request, timeout=_TIMEOUT_SECONDS)) as response:
                yield response
        except HTTPError as exc:
            with exc:
                elsewhere = _origin_of(exc.headers.get("Location"))
                raise _refusal(exc.code, exc.read(), self.url, elsewhere) from None
        except (URLError, OSError, HTTPException, UnicodeError) as exc:  # the last: a host of no name that DNS has
            raise Unreachable(_why_unreachable(exc, self.url)) from None


class Route:
    """A path below `/api`, built from segments that are quoted."""

    def __init__(self, *segments: str) -> None:
        self._segments = segments

    def __str__(self) -> str:
        for segment in self._segments:
            if segment in {"", ".", ".."}:  # a url drops them, and what is left is another route
                raise WrongCall(f"{segment!r} names nothing.")
        return "".join(f"/{quote(segment, safe='')}" for segment in self._segments)


def model_segments(model: str | None) -> tuple[str, ...]:
    """Return the path segments of `NAME[:VERSION]`: none, `models/NAME` or `models/NAME/versions/VERSION`."""
    if not model:
        return ()
    name, colon, version = model.partition(":")
    if not name or (colon and not version):
        raise WrongCall(f"{model!r} is not NAME or NAME:VERSION.")
    return ("models", name, "versions", version) if version else ("models", name)


def _check_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid or parts.query or parts.fragment or "@" in parts.netloc:
        raise WrongCall(f"--url {redact_url(url)!r} is not like http://localhost:7071.")
    return url.rstrip("/").removesuffix("/api")


def _check_key(key: str) -> str:
    """Return the key without what a file's line end leaves of it. Raises WrongCall."""
    key = key.strip()
    if not (key.isascii() and key.isprintable()):
        raise WrongCall("--key has characters that no key has; was it copied whole, and alone?")
    return key


def _make_opener(url: str) -> OpenerDirector:
    proxies = ProxyHandler({}) if _is_loopback(urlsplit(url).hostname or "") else ProxyHandler()
    return build_opener(proxies, _NoRedirects(), HTTPHandler(), HTTPSHandler(context=ssl.create_default_context()))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _total_of(content_range: str | None) -> int:
    """Return the whole length of which a `Content-Range` is a part. Raises HTTPException."""
    try:
        return int((content_range or "").rpartition("/")[2])
    except ValueError:
        raise HTTPException("a range of an unknown length") from None


def _origin_of(location: str | None) -> str | None:
    """Return the scheme, host and port of a Location, if it names a host."""
    try:
        parts = urlsplit(location or "")
    except ValueError:
        return None
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}" if parts.scheme and host else None


def _refusal(status: int, body: bytes, url: str, elsewhere: str | None) -> Refused:
    try:
        error = json.loads(body)
        return Refused(status, str(error["error"]), str(error["code"]))
    except (ValueError, KeyError, TypeError):
        pass
    # Without our body it is the Functions host that answers, not one of our functions.
    if status == 401:
        return Refused(status, f"{url} asks for a key: --key, or better the variable ONNXFN_KEY", "unauthorized")
    if status == 403:  # the host never says so of a key, wrong or missing
        reason = "by its access restrictions, or as it is stopped; a key changes nothing"
        return Refused(status, f"What stands before {url} lets no call through (status 403), {reason}.", "")
    if status == 404:
        return Refused(status, f"{url} has no such function; is --url right?", "")
    if status == 413:
        return Refused(status, f"{url} takes no request as large as this one", "payload_too_large")
    if 300 <= status < 400 and elsewhere:
        return Refused(status, f"{url} sends callers on to {elsewhere}; if that is right, give it as --url.", "")
    if 300 <= status < 400:
        return Refused(status, f"{url} sends callers on to another page (status {status}); does it want a login?", "")
    return Refused(status, f"{url} answered with status {status}", "")


def _why_unreachable(exc: Exception, url: str) -> str:
    reason = exc.reason if isinstance(exc, URLError) else exc
    if isinstance(reason, ConnectionRefusedError):
        is_here = _is_loopback(urlsplit(url).hostname or "")
        return f"No service at {url}; start it with `onnxfn start`." if is_here else f"No service at {url}."
    if isinstance(reason, IncompleteRead):
        return f"{url} cut its reply off."
    if isinstance(reason, TimeoutError):
        return f"{url} did not answer in time."
    return f"{url} cannot be reached: {reason}"
