"""Which account and which identity the settings mean."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from inference.errors import SettingsError
from inference.settings import StorageSettings
from inference.storage.azure import AzureStorage

KEY = "c2VjcmV0LWtleQ=="


async def endpoint_of(settings: StorageSettings) -> str:
    async with AzureStorage.connect(settings) as storage:
        return storage.blob_endpoint


@pytest.mark.parametrize(
    "text", ["UseDevelopmentStorage=true", "usedevelopmentstorage=True;", " UseDevelopmentStorage=true "]
)
async def test_development_storage_is_azurite_at_its_own_ports(text: str) -> None:
    assert await endpoint_of(StorageSettings(connection_string=text)) == "http://127.0.0.1:10000/devstoreaccount1"


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        (f"AccountName=photos;AccountKey={KEY}", "https://photos.blob.core.windows.net"),
        (f"AccountName=photos;AccountKey={KEY};EndpointSuffix=core.example", "https://photos.blob.core.example"),
        (
            "BlobEndpoint=https://b.example/;QueueEndpoint=https://q.example/;SharedAccessSignature=sv=1&sig=secret",
            "https://b.example",
        ),
    ],
)
async def test_a_connection_string_names_its_endpoint(text: str, endpoint: str) -> None:
    if "EndpointSuffix" in text:
        text = f"DefaultEndpointsProtocol=https;{text}"

    assert await endpoint_of(StorageSettings(connection_string=text)) == endpoint


@pytest.mark.parametrize(
    ("settings", "endpoint"),
    [
        (StorageSettings(account_name="photos"), "https://photos.blob.core.windows.net"),
        (
            StorageSettings(account_name="photos", credential="managedidentity", client_id="an-id"),
            "https://photos.blob.core.windows.net",
        ),
        (
            StorageSettings(blob_service_uri="https://b.example/", queue_service_uri="https://q.example/"),
            "https://b.example",
        ),
    ],
)
async def test_an_identity_needs_a_name_or_endpoints(settings: StorageSettings, endpoint: str) -> None:
    assert await endpoint_of(settings) == endpoint


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (StorageSettings(), "neither AzureWebJobsStorage nor"),
        (StorageSettings(connection_string="nonsense"), "AzureWebJobsStorage: "),
        (StorageSettings(connection_string="AccountKey=secret;secret"), "AzureWebJobsStorage: "),
        (
            StorageSettings(connection_string="AccountName=photos;AccountKey=secret0;EndpointSuffix=core.windows.net"),
            "AzureWebJobsStorage: The AccountKey is not base64.",
        ),
        (StorageSettings(account_name="photos", credential="password"), "AzureWebJobsStorage__credential"),
    ],
)
def test_settings_that_name_no_account_are_refused(settings: StorageSettings, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem) as raised:
        AzureStorage.connect(settings)

    assert "secret" not in str(raised.value)


async def test_an_account_of_blobs_alone_has_no_queues() -> None:
    async with AzureStorage.connect(StorageSettings(blob_service_uri="https://b.example")) as storage:
        storage.blobs("models")

        with pytest.raises(SettingsError, match="queueServiceUri"):
            storage.queue("batch-shards")


def test_a_second_event_loop_is_told_so(azurite: str) -> None:
    storage = AzureStorage.connect(StorageSettings(connection_string=azurite))

    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(storage.blobs("models").properties("a"))
        with pytest.raises(RuntimeError, match="another event loop"):
            second.run(storage.blobs("models").properties("a"))
        first.run(storage.close())


def test_the_protocols_load_no_sdk() -> None:
    program = "import sys, inference.storage; print([name for name in sys.modules if name.startswith('azure')])"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert loaded.stdout.strip() == "[]"


def test_a_connection_string_loads_no_identity() -> None:
    program = "import sys, inference.storage.azure; print('azure.identity' in sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert loaded.stdout.strip() == "False"
