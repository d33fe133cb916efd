"""Opening what INFERENCE_MODEL_REPOSITORY names: a folder without the storage SDK, a container as its identity."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inference.errors import SettingsError
from inference.models.blob_source import BlobSource
from inference.models.opening import CacheChoice, open_container, open_source
from inference.models.source import FolderSource
from inference.settings import StorageSettings

AZURITE = StorageSettings(connection_string="UseDevelopmentStorage=true")
CACHE = CacheChoice("", 1 << 30)


def test_folder_is_opened_without_the_storage_sdk() -> None:
    code = "import sys, inference.models.opening; print([name for name in sys.modules if name.startswith('azure')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


async def test_path_is_a_folder_and_url_a_container(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as executor:
        assert isinstance(open_source(str(tmp_path), AZURITE, CACHE, executor), FolderSource)
        url = "http://127.0.0.1:10000/devstoreaccount1/models/team"
        source = open_source(url, AZURITE, CACHE, executor)
        assert isinstance(source, BlobSource)
        await source.close()


@pytest.mark.parametrize(
    ("url", "storage"),
    [
        ("http://127.0.0.1:10000/devstoreaccount1/models/team", AZURITE),
        ("https://account.blob.core.windows.net/models/team", AZURITE),
        (
            "https://other.blob.core.windows.net/models/team",
            StorageSettings(account_name="account", credential="managedidentity", client_id="id"),
        ),
    ],
    ids=["the app's own account", "another one beside a connection string", "another one with the app's identity"],
)
async def test_container_is_looked_for_where_the_url_says(url: str, storage: StorageSettings) -> None:
    account, _, prefix = open_container(url, storage)

    assert account.blob_endpoint == url.removesuffix("/models/team")
    assert prefix == "team/"
    await account.close()


def test_url_that_names_no_container_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsError, match="INFERENCE_MODEL_REPOSITORY: it names no container") as refusal:
        open_container("https://account.blob.core.windows.net", AZURITE)
    assert len(refusal.value.problems) == 1


@pytest.mark.parametrize("storage", [AZURITE, StorageSettings(account_name="account")])
@pytest.mark.parametrize("url", ["http://localhost:10000/devstoreaccount1/models", "http://example.com/models"])
async def test_another_account_is_not_told_an_identity_over_http(url: str, storage: StorageSettings) -> None:
    with pytest.raises(SettingsError, match="only supported with HTTPS"):
        open_container(url, storage)
