"""The one place where exceptions of the Azure SDK become the project's own.

It refuses to put a url, a header or the service's text into a message: they can carry names and signatures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import aiohttp
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    DeserializationError,
    HttpResponseError,
)

from inference.errors import InferenceError, StorageForbidden, StorageUnavailable
from inference.storage import BlobForbidden, BlobNotFound, BlobUnreadable, PreconditionFailed


class ContainerNotFound(BlobNotFound):
    """There is no such container, and so no such blob."""


class QueueNotFound(Exception):
    """There is no such queue."""


class MessageGone(Exception):
    """The message was deleted, or received since the pop receipt was given."""


class RangeNotSatisfiable(Exception):
    """The range begins at or past the end of the blob."""


class BlocksDiscarded(PreconditionFailed):
    """Somebody else committed the blob meanwhile, and the service threw away the blocks that were staged for it."""


#: Error codes of the service (header x-ms-error-code) that mean more than their status does.
#: Source: learn.microsoft.com/rest/api/storageservices, pages {common-rest-api,blob-service,queue-service}-error-codes.
_BY_ERROR_CODE: dict[str, type[Exception]] = {
    "AuthorizationPermissionMismatch": BlobForbidden,
    "BlobAlreadyExists": PreconditionFailed,  # 409: the answer to If-None-Match: *
    "BlobArchived": BlobUnreadable,
    "BlobBeingRehydrated": BlobUnreadable,
    "BlobUsesCustomerSpecifiedEncryption": BlobUnreadable,
    "ContainerNotFound": ContainerNotFound,
    "InvalidBlockList": BlocksDiscarded,
    "InvalidRange": RangeNotSatisfiable,
    "InvalidResourceName": BlobUnreadable,
    "InvalidUri": BlobUnreadable,
    "MessageNotFound": MessageGone,
    "OutOfRangeInput": BlobUnreadable,
    "PopReceiptMismatch": MessageGone,
    "QueueNotFound": QueueNotFound,
    "RequestUrlFailedToParse": BlobUnreadable,
}

_BY_STATUS: dict[int, type[Exception]] = {
    401: StorageForbidden,
    403: StorageForbidden,
    404: BlobNotFound,
    412: PreconditionFailed,
    416: RangeNotSatisfiable,
}


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise the project's exception for whatever the SDK or its transport raises inside.

    `SerializationError` passes: it means that we called the SDK wrongly, and trying again cannot help that.
    """
    try:
        yield
    except HttpResponseError as exc:
        raise _translate_response(exc) from exc
    except (AzureError, DeserializationError, aiohttp.ClientError, OSError) as exc:  # TimeoutError is an OSError
        raise StorageUnavailable(f"storage cannot be reached ({type(exc).__name__})") from exc


def parse_retry_after(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header, or None; the service only ever sends whole seconds."""
    return float(value) if value is not None and value.isascii() and value.isdigit() else None


def read_error_code(exc: HttpResponseError) -> str:
    """Return the service's own error code, such as `BlobAlreadyExists`, or an empty string."""
    headers: Mapping[str, str] = getattr(exc.response, "headers", {})
    # The SDK sets error_code from the XML body (an enum or a string); replies to HEAD have only the header.
    code = getattr(exc, "error_code", None) or headers.get("x-ms-error-code") or ""
    return str(getattr(code, "value", code))


def _translate_response(exc: HttpResponseError) -> Exception:
    headers: Mapping[str, str] = getattr(exc.response, "headers", {})
    error_code = read_error_code(exc)
    kind = _BY_ERROR_CODE.get(error_code) or _BY_STATUS.get(exc.status_code or 0)
    if kind is None:
        kind = StorageForbidden if isinstance(exc, ClientAuthenticationError) else StorageUnavailable
    if isinstance(exc, ClientAuthenticationError) and exc.status_code is None:
        # azure-identity found no credential to ask storage with; what it says of each it logs itself.
        reason = "there is no Azure login to reach storage with: a managed identity, or that of `az login`"
    else:
        reason = f"storage answered {exc.status_code or 'nothing usable'} ({error_code or type(exc).__name__})"
    if issubclass(kind, InferenceError):
        return kind(reason, retry_after_seconds=parse_retry_after(headers.get("Retry-After")))
    return kind(reason)
