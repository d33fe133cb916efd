"""The table from what an origin does to the error it means."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime

import aiohttp
import pytest

from inference.errors import (
    ImageNotFound,
    InferenceError,
    OriginBroken,
    OriginRefused,
    OriginThrottled,
    OriginTimeout,
    OriginUnavailable,
)
from inference.fetch.outcomes import explain_exception, explain_lookup, explain_status, read_retry_after


@pytest.mark.parametrize(
    ("statuses", "kind"),
    [
        ((404, 410), ImageNotFound),
        ((400, 401, 402, 403, 405, 406, 407, 409, 412, 416, 418, 421, 451, 499), OriginRefused),
        ((408,), OriginTimeout),
        ((429,), OriginThrottled),
        ((500, 501, 502, 503, 504, 507, 520, 599), OriginUnavailable),
        ((101, 199, 201, 202, 203, 204, 206, 226, 299, 300, 304, 305, 306, 399, 600, 999), OriginBroken),
    ],
)
def test_every_status_but_200_means_one_error(statuses: tuple[int, ...], kind: type[InferenceError]) -> None:
    for status in statuses:
        error = explain_status(status, {})

        assert type(error) is kind
        assert error.message == f"The image's origin answered with status {status}."


@pytest.mark.parametrize(
    ("status", "seconds"), [(429, 7.0), (503, 7.0), (500, 7.0), (404, None), (403, None), (408, None), (204, None)]
)
def test_retry_after_counts_where_trying_again_does(status: int, seconds: float | None) -> None:
    assert explain_status(status, {"Retry-After": "7"}).retry_after_seconds == seconds


NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": " 120 "}, 120.0),
        ({"Retry-After": "9" * 400}, 86_400.0),
        ({"Retry-After": "Sat, 21 Nov 2026 12:01:30 GMT"}, 90.0),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, 86_400.0),
        ({"Retry-After": "Saturday, 21-Nov-26 12:01:30 GMT"}, 90.0),
        ({"Retry-After": "Sat Nov 21 12:01:30 2026"}, 90.0),
        ({"Retry-After": "Sat, 21 Nov 2026 11:00:00 GMT"}, 0.0),
        # the origin's clock is an hour slow, and so is its date
        ({"Retry-After": "Sat, 21 Nov 2026 11:00:05 GMT", "Date": "Sat, 21 Nov 2026 11:00:00 GMT"}, 5.0),
        ({"Retry-After": "Sat, 21 Nov 2026 12:00:05 GMT", "Date": "yesterday"}, 5.0),
        ({}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "1.5"}, None),
        ({"Retry-After": "١"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Sat, 99 Nov 2026 11:00:00 GMT"}, None),
        ({"Retry-After": "Sat, 21 Nov 99999999999999999999 11:00:00 GMT"}, None),
        ({"Retry-After": "Sat, 21 Nov 2026 11:00:00 +99999999999999999999"}, None),
        ({"Retry-After": "Sat, 21 Nov 2026 12:00:05 GMT", "Date": f"Sat, 21 Nov 2026 {9**30}:00:00 GMT"}, 5.0),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert read_retry_after(headers, lambda: NOW) == seconds


def test_retry_after_as_a_date_counts_from_now_when_the_origin_has_no_date() -> None:
    assert read_retry_after({"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}) == 0.0


@pytest.mark.parametrize(
    ("exc", "kind"),
    [
        (aiohttp.ConnectionTimeoutError("canary"), OriginTimeout),
        (aiohttp.SocketTimeoutError("canary"), OriginTimeout),
        (TimeoutError("canary"), OriginTimeout),
        (aiohttp.ServerDisconnectedError("canary"), OriginUnavailable),
        (aiohttp.ClientOSError(104, "canary"), OriginUnavailable),
        (ConnectionRefusedError(111, "canary"), OriginUnavailable),
        (aiohttp.ClientPayloadError("canary"), OriginUnavailable),
        (ssl.SSLCertVerificationError(1, "canary"), OriginBroken),
        (ssl.SSLError(1, "canary"), OriginBroken),
        (aiohttp.InvalidURL("canary"), OriginBroken),
        (aiohttp.ClientError("canary"), OriginBroken),
    ],
)
def test_every_exception_means_one_error_and_its_text_is_not_passed_on(
    exc: aiohttp.ClientError | OSError, kind: type[InferenceError]
) -> None:
    error = explain_exception(exc)

    assert type(error) is kind
    assert "canary" not in str(error)


@pytest.mark.parametrize(
    ("exc", "kind"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), OriginBroken),
        (socket.gaierror(socket.EAI_NODATA, "No address associated with hostname"), OriginBroken),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), OriginUnavailable),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure in name resolution"), OriginUnavailable),
        (OSError(24, "Too many open files"), OriginUnavailable),
    ],
)
def test_a_name_that_does_not_exist_is_not_tried_again_and_one_that_may_is(
    exc: OSError, kind: type[InferenceError]
) -> None:
    assert type(explain_lookup(exc)) is kind
