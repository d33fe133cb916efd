"""Every exception that the SDK can raise comes out as one of the project's own."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import azure.core.exceptions
import pytest
from azure.core.exceptions import AzureError, HttpResponseError, SerializationError
from azure.identity.aio import ChainedTokenCredential, EnvironmentCredential
from azure.storage.blob import StorageErrorCode

from inference.errors import StorageForbidden, StorageUnavailable
from inference.storage import BlobForbidden, BlobNotFound, BlobUnreadable, PreconditionFailed
from inference.storage.azure.errors import (
    BlocksDiscarded,
    ContainerNotFound,
    QueueNotFound,
    RangeNotSatisfiable,
    parse_retry_after,
    translate_errors,
)

OURS = (StorageUnavailable, StorageForbidden, BlobNotFound, PreconditionFailed)


def every_sdk_exception() -> Iterator[type[Exception]]:
    """Every exception class of azure.core; a new one in a later version comes along by itself."""
    for _, member in inspect.getmembers(azure.core.exceptions, inspect.isclass):
        if issubclass(member, Exception) and member.__module__ == azure.core.exceptions.__name__:
            yield member


def make(kind: type[Exception]) -> Exception:
    """Make an exception without its constructor, which differs from class to class."""
    exc = kind.__new__(kind)
    exc.args = ("https://account.blob.core.windows.net/c/b?sig=secret",)
    exc.__dict__.update(response=None, status_code=None, message="https://account/?sig=secret", inner_exception=None)
    return exc


def reply(status: int, code: str | None = None, **headers: str) -> HttpResponseError:
    """Make the exception for a reply of the service."""
    if code is not None:
        headers["x-ms-error-code"] = code
    exc = HttpResponseError(message="https://account/?sig=secret")
    exc.status_code = status
    response: Any = SimpleNamespace(headers=headers, status_code=status)
    exc.response = response
    return exc


async def test_nobody_who_is_logged_in_is_said_in_a_sentence() -> None:
    # As DefaultAzureCredential does where there is no identity at all, after dozens of lines of its own.
    async with ChainedTokenCredential(EnvironmentCredential()) as credential:
        with pytest.raises(StorageForbidden, match=r"no Azure login .* `az login`"), translate_errors():
            await credential.get_token("https://storage.azure.com/.default")


@pytest.mark.parametrize("kind", [*every_sdk_exception()], ids=lambda kind: kind.__name__)
def test_every_exception_of_the_sdk_is_translated(kind: type[Exception]) -> None:
    if kind is SerializationError:  # we called the SDK wrongly: a bug, to be seen as one
        with pytest.raises(SerializationError), translate_errors():
            raise make(kind)
        return

    with pytest.raises(OURS) as raised, translate_errors():
        raise make(kind)

    assert "secret" not in str(raised.value)
    assert isinstance(raised.value.__cause__, kind)


@pytest.mark.parametrize(
    "kind",
    [
        aiohttp.ClientPayloadError,
        aiohttp.ServerDisconnectedError,
        aiohttp.ClientOSError,
        ConnectionResetError,
        TimeoutError,
        OSError,
    ],
)
def test_every_exception_of_the_transport_means_unavailable(kind: type[Exception]) -> None:
    with pytest.raises(StorageUnavailable), translate_errors():
        raise kind


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "BlobNotFound", BlobNotFound),
        (404, None, BlobNotFound),  # the reply to HEAD behind some proxies
        (404, "ContainerNotFound", ContainerNotFound),
        (404, "QueueNotFound", QueueNotFound),
        (409, "BlobAlreadyExists", PreconditionFailed),
        (412, "ConditionNotMet", PreconditionFailed),
        (412, "LeaseIdMissing", PreconditionFailed),
        (400, "InvalidBlockList", BlocksDiscarded),
        (400, "InvalidResourceName", BlobUnreadable),
        (400, "OutOfRangeInput", BlobUnreadable),
        (400, "RequestUrlFailedToParse", BlobUnreadable),
        (409, "BlobArchived", BlobUnreadable),
        (416, "InvalidRange", RangeNotSatisfiable),
        (403, "AuthenticationFailed", StorageForbidden),
        (403, "AuthorizationPermissionMismatch", BlobForbidden),
        (401, "NoAuthenticationInformation", StorageForbidden),
        (409, "ContainerBeingDeleted", StorageUnavailable),
        (409, "QueueBeingDeleted", StorageUnavailable),
        (500, "InternalError", StorageUnavailable),
        (503, "ServerBusy", StorageUnavailable),
        (502, None, StorageUnavailable),
        (400, "InvalidHeaderValue", StorageUnavailable),
    ],
)
def test_a_reply_is_judged_by_its_code_and_status(status: int, code: str | None, kind: type[Exception]) -> None:
    with pytest.raises(kind) as raised, translate_errors():
        raise reply(status, code)

    assert type(raised.value) is kind
    assert "secret" not in str(raised.value)


def test_the_code_of_the_body_is_read_like_that_of_the_header() -> None:
    exc = reply(409)
    exc.__dict__["error_code"] = StorageErrorCode.BLOB_ALREADY_EXISTS

    with pytest.raises(PreconditionFailed), translate_errors():
        raise exc


def test_the_wait_that_the_service_asks_for_is_passed_on() -> None:
    with pytest.raises(StorageUnavailable) as raised, translate_errors():
        raise reply(503, "ServerBusy", **{"Retry-After": "30"})

    assert raised.value.retry_after_seconds == 30


@pytest.mark.parametrize(
    ("header", "seconds"), [("5", 5.0), ("0", 0.0), (None, None), ("soon", None), ("-1", None), ("\u0665", None)]
)
def test_retry_after_is_whole_seconds_or_nothing(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header) == seconds


def test_other_exceptions_pass() -> None:
    assert not issubclass(KeyError, AzureError)
    with pytest.raises(KeyError), translate_errors():
        raise KeyError
