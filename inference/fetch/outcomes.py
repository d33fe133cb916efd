"""Says what an origin's answer, or its failure to answer, means: one error class each, hence one code and one verdict
on trying again.

It refuses to repeat anything that the origin or aiohttp said: their texts carry urls, and urls carry secrets.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp

from inference.errors import (
    ImageNotFound,
    InferenceError,
    OriginBroken,
    OriginRefused,
    OriginThrottled,
    OriginTimeout,
    OriginUnavailable,
)

#: Statuses whose Location is followed (RFC 9110 §15.4); 300, 304, 305 and 306 mean something else.
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

_STATUSES: Final[Mapping[int, type[InferenceError]]] = {
    404: ImageNotFound,
    408: OriginTimeout,  # the origin gave up waiting for us, and asks us to repeat (RFC 9110 §15.5.9)
    410: ImageNotFound,
    429: OriginThrottled,
}

#: First match wins: a wrong certificate is also an OSError, a connect timeout also a connection error.
_EXCEPTIONS: Final[tuple[tuple[type[Exception], type[InferenceError], str], ...]] = (
    (aiohttp.ClientConnectorCertificateError, OriginBroken, "The image's origin has no valid certificate."),
    (ssl.SSLCertVerificationError, OriginBroken, "The image's origin has no valid certificate."),
    (aiohttp.ClientSSLError, OriginBroken, "The image's origin does not speak TLS as it should."),
    (ssl.SSLError, OriginBroken, "The image's origin does not speak TLS as it should."),
    (TimeoutError, OriginTimeout, "The image's origin took too long."),
    (aiohttp.ClientPayloadError, OriginUnavailable, "The image's origin stopped in the middle of the image."),
    (aiohttp.ClientConnectionError, OriginUnavailable, "The image's origin cannot be reached or hung up."),
    (OSError, OriginUnavailable, "The image's origin cannot be reached or hung up."),
    (aiohttp.ClientError, OriginBroken, "The image's origin did not answer in HTTP."),
)

#: getaddrinfo's word for "try again" is EAI_AGAIN; these mean that there is no such name, or no address for it.
_NO_SUCH_NAME: Final = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})

#: Longest wait that an origin may ask for. One of 400 digits is infinite as a float, and no header can say that.
_LONGEST_WAIT_SECONDS: Final = 86_400.0


def explain_status(status: int, headers: Mapping[str, str]) -> InferenceError:
    """Return the error that an answer with `status` means; 200 and `REDIRECTS` mean none and are not asked about."""
    if status in _STATUSES:
        kind = _STATUSES[status]
    elif 500 <= status < 600:
        kind = OriginUnavailable
    elif 400 <= status < 500:
        kind = OriginRefused
    else:
        kind = OriginBroken
    waits = kind.retryable and (status >= 500 or status == 429)
    retry_after_seconds = read_retry_after(headers) if waits else None
    return kind(f"The image's origin answered with status {status}.", retry_after_seconds=retry_after_seconds)


def explain_exception(exc: aiohttp.ClientError | OSError) -> InferenceError:
    """Return the error that an exception of aiohttp, TLS or the socket means."""
    kind, message = next((kind, message) for caught, kind, message in _EXCEPTIONS if isinstance(exc, caught))
    return kind(message)


def explain_lookup(exc: OSError) -> InferenceError:
    """Return the error that a failed look-up of the host name means."""
    if isinstance(exc, socket.gaierror) and exc.errno in _NO_SUCH_NAME:
        return OriginBroken("The url's host name does not exist.")
    return OriginUnavailable("The url's host name could not be looked up.")


def read_retry_after(headers: Mapping[str, str], now: Callable[[], datetime] | None = None) -> float | None:
    """Return the seconds to wait that `Retry-After` asks for (RFC 9110 §10.2.3), None when it says nothing readable.

    They are a day at most. A date counts from the answer's own `Date`, so that the clocks need not agree.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST_WAIT_SECONDS)
    moment = _read_date(text)
    if moment is None:
        return None
    asked = _read_date(headers.get("Date", "")) or (now or _utc_now)()
    return min(max(0.0, (moment - asked).total_seconds()), _LONGEST_WAIT_SECONDS)


def _read_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # a year, an hour or a zone of twenty digits
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _utc_now() -> datetime:
    return datetime.now(UTC)
