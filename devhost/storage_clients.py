"""Owns the host's Storage clients: from a binding's connection name to queues and containers of that account.

It holds no data; closing it closes every client.
"""

from collections.abc import Mapping
from typing import Any

from azure.core.credentials_async import AsyncTokenCredential
from azure.storage.blob.aio import BlobServiceClient, ContainerClient
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from devhost.azurite import is_development_storage
from devhost.errors import ConfigurationError

DEFAULT_CONNECTION = "AzureWebJobsStorage"

#: The one spelling that the Python clients know.
_DEVELOPMENT_STORAGE = "UseDevelopmentStorage=true"

_OPTIONS: Mapping[str, Any] = {
    # As the newest Azurite for Node 20 speaks. The Python client's own is newer, which an Azurite that somebody else
    # started refuses at each call, unless told not to.
    "api_version": "2025-11-05",
    # Three more tries within a few seconds, as the .NET client's defaults; the Python client first waits 15 seconds.
    "initial_backoff": 0,
    "increment_base": 1,
    "random_jitter_range": 1,
    "retry_total": 3,
}


class StorageClients:
    """Storage clients by connection name, made at first use."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._settings = settings
        self._queue_services: dict[str, QueueServiceClient] = {}
        self._blob_services: dict[str, BlobServiceClient] = {}
        self._credentials: list[AsyncTokenCredential] = []

    def queue(self, connection: str | None, name: str) -> QueueClient:
        """Return a client that sends and receives message text as it is. Raises ConfigurationError."""
        key = connection or DEFAULT_CONNECTION
        if key not in self._queue_services:
            self._queue_services[key] = self._make_service(QueueServiceClient, key, "queue")
        return self._queue_services[key].get_queue_client(name.lower())

    def container(self, connection: str | None, name: str) -> ContainerClient:
        """Return a client of a blob container. Raises ConfigurationError."""
        key = connection or DEFAULT_CONNECTION
        if key not in self._blob_services:
            self._blob_services[key] = self._make_service(BlobServiceClient, key, "blob")
        return self._blob_services[key].get_container_client(name)

    async def close(self) -> None:
        for queues in self._queue_services.values():
            await queues.close()
        for blobs in self._blob_services.values():
            await blobs.close()
        for credential in self._credentials:
            await credential.close()

    def _make_service[Service: (QueueServiceClient, BlobServiceClient)](
        self, service: type[Service], connection: str, kind: str
    ) -> Service:
        text = self._setting(connection)
        if text is not None:
            try:
                known = _DEVELOPMENT_STORAGE if is_development_storage(text) else text
                return service.from_connection_string(known, **_OPTIONS)
            except ValueError as error:  # its text never quotes the connection string
                raise ConfigurationError(f"The app setting {connection} is no connection string: {error}") from None
        uri = self._setting(f"{connection}__{kind}ServiceUri")
        account = self._setting(f"{connection}__accountName")
        if uri is None and account is not None:
            uri = f"https://{account}.{kind}.core.windows.net"
        if uri is None:
            raise ConfigurationError(
                f"Storage account connection string '{connection}' does not exist. "
                "Make sure that it is a defined App Setting."
            )
        return service(uri, credential=self._credential(connection), **_OPTIONS)

    def _credential(self, connection: str) -> AsyncTokenCredential:
        from azure.identity.aio import DefaultAzureCredential  # seldom used locally, and slow to import

        credential = DefaultAzureCredential(managed_identity_client_id=self._setting(f"{connection}__clientId"))
        self._credentials.append(credential)
        return credential

    def _setting(self, name: str) -> str | None:
        """Look a connection up as the host does: its own name first, then with the prefix AzureWebJobs."""
        return self._settings.get(name) or self._settings.get(f"AzureWebJobs{name}") or None
