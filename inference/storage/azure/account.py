"""One storage account: its endpoints and identity from the settings, its containers and queues.

It refuses to open anything before the first call; one instance serves one event loop.
"""

from __future__ import annotations

import base64
import logging
import re
from types import TracebackType
from typing import Any, Self

from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueServiceClient

from inference.errors import SettingsError
from inference.settings import StorageSettings
from inference.storage.azure.blobs import AzureBlobStore
from inference.storage.azure.login import Login
from inference.storage.azure.queues import AzureMessageQueue
from inference.storage.azure.retry import BackoffRetry
from inference.storage.azure.transport import PooledTransport

#: The newest service version that Azurite 3.35 speaks; pinned so that Azure and Azurite are asked the same.
API_VERSION = "2025-11-05"

_DEVELOPMENT_STORAGE = "UseDevelopmentStorage=true"
_ACCOUNT_KEY = re.compile(r"(?:^|;)\s*AccountKey=([^;]*)", re.IGNORECASE)


class AzureStorage:
    """The containers and queues of one account; also an async context manager that closes the connections."""

    def __init__(
        self,
        blob_service: BlobServiceClient | None,
        queue_service: QueueServiceClient | None,
        credential: Login | None = None,
    ) -> None:
        self._blob_service = blob_service
        self._queue_service = queue_service
        self._credential = credential

    @classmethod
    def connect(cls, settings: StorageSettings) -> Self:
        """Return the account that `settings` name; the first call opens the connection. Raises SettingsError."""
        transport = PooledTransport()
        if settings.connection_string:
            return cls._with_connection_string(settings.connection_string, transport)
        return cls._with_identity(settings, transport)

    @property
    def blob_endpoint(self) -> str:
        """The url that the urls of the account's blobs begin with, without the slash that follows."""
        url: str = self._blobs().url
        return url.partition("?")[0].rstrip("/")

    def blobs(self, container: str) -> AzureBlobStore:
        """Return the container; it need not exist yet. Raises SettingsError when no blob endpoint is set."""
        return AzureBlobStore(self._blobs().get_container_client(container))

    def queue(self, name: str) -> AzureMessageQueue:
        """Return the queue; it need not exist yet. Raises SettingsError when no queue endpoint is set."""
        if self._queue_service is None:
            raise SettingsError(["AzureWebJobsStorage__queueServiceUri (or __accountName) is not set"])
        return AzureMessageQueue(self._queue_service.get_queue_client(name))

    async def close(self) -> None:
        """Close the connections; what is under way fails."""
        for closable in (self._blob_service, self._queue_service, self._credential):
            if closable is not None:
                await closable.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @classmethod
    def _with_connection_string(cls, text: str, transport: PooledTransport) -> Self:
        if text.strip().rstrip(";").casefold() == _DEVELOPMENT_STORAGE.casefold():
            text = _DEVELOPMENT_STORAGE  # the Functions host takes it in any case, the SDK only in this one
        try:
            _check_key(text)
            return cls(
                BlobServiceClient.from_connection_string(text, **_options(transport)),
                QueueServiceClient.from_connection_string(text, **_options(transport)),
            )
        except ValueError as exc:  # its text never quotes the connection string
            raise SettingsError([f"AzureWebJobsStorage: {exc}"]) from None

    @classmethod
    def _with_identity(cls, settings: StorageSettings, transport: PooledTransport) -> Self:
        blob_uri, queue_uri = _service_uri(settings, "blob"), _service_uri(settings, "queue")
        if not (blob_uri or queue_uri):
            raise SettingsError(["neither AzureWebJobsStorage nor AzureWebJobsStorage__accountName is set"])
        credential = _credential(settings)
        try:
            return cls(
                BlobServiceClient(blob_uri, credential, **_options(transport)) if blob_uri else None,
                QueueServiceClient(queue_uri, credential, **_options(transport)) if queue_uri else None,
                credential,
            )
        except ValueError as exc:  # an identity is never told over http
            raise SettingsError(
                [f"{blob_uri or queue_uri}: {exc} Another account than AzureWebJobsStorage's is reached by https."]
            ) from None

    def _blobs(self) -> BlobServiceClient:
        if self._blob_service is None:
            raise SettingsError(["AzureWebJobsStorage__blobServiceUri (or __accountName) is not set"])
        return self._blob_service


def _options(transport: PooledTransport) -> dict[str, Any]:
    return {
        "transport": transport,
        "retry_policy": BackoffRetry(),  # each client its own: a policy is a link of one pipeline
        "api_version": API_VERSION,
        "http_logging_level": logging.DEBUG,  # at INFO, the default, every url and header would be in the logs
    }


def _service_uri(settings: StorageSettings, service: str) -> str:
    uri = settings.blob_service_uri if service == "blob" else settings.queue_service_uri
    if uri or not settings.account_name:
        return uri.rstrip("/")
    return f"https://{settings.account_name}.{service}.core.windows.net"


def _credential(settings: StorageSettings) -> Login:
    """Return the identity as the Functions host chooses it.

    `credential=managedidentity` with `clientId` is a user-assigned identity; without them it is the system-assigned
    one in Azure and the developer's own elsewhere. Source: "Common properties for identity-based connections" in
    learn.microsoft.com/azure/azure-functions/functions-reference.
    """
    from azure.identity import aio as identity  # half a second to import, and never needed with a connection string

    if settings.credential.casefold() == "managedidentity":
        return Login(identity.ManagedIdentityCredential(client_id=settings.client_id or None))
    if settings.credential:
        raise SettingsError([f"AzureWebJobsStorage__credential: {settings.credential!r} is not managedidentity"])
    return Login(identity.DefaultAzureCredential(managed_identity_client_id=settings.client_id or None))


def _check_key(connection_string: str) -> None:
    """Raise ValueError for a key that was cut off, say: the SDK finds out at the first call, and calls it no login."""
    found = _ACCOUNT_KEY.search(connection_string)
    try:
        base64.b64decode(found[1].strip() if found else "", validate=True)
    except ValueError:
        raise ValueError("The AccountKey is not base64.") from None
