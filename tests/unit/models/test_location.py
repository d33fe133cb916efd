"""Urls of containers, as operators write them."""

from __future__ import annotations

import pytest

from inference.models.location import ContainerLocation, is_url, parse_container_url


@pytest.mark.parametrize(
    ("url", "location"),
    [
        (
            "https://account.blob.core.windows.net/models",
            ContainerLocation("https://account.blob.core.windows.net", "models"),
        ),
        (
            "https://Account.blob.core.windows.net/models/teams/a%20b/",
            ContainerLocation("https://account.blob.core.windows.net", "models", "teams/a b/"),
        ),
        (
            "http://127.0.0.1:10000/devstoreaccount1/models/team",
            ContainerLocation("http://127.0.0.1:10000/devstoreaccount1", "models", "team/"),
        ),
        (
            "http://azurite:10000/devstoreaccount1/models",
            ContainerLocation("http://azurite:10000/devstoreaccount1", "models"),
        ),
    ],
)
def test_url_names_account_container_and_prefix(url: str, location: ContainerLocation) -> None:
    assert is_url(url)
    assert parse_container_url(url) == location


@pytest.mark.parametrize(
    "url",
    [
        "https://",
        "https:///models",
        "file://host/models",
        "https://account.blob.core.windows.net",
        "http://127.0.0.1:10000/devstoreaccount1",
        "https://account.blob.core.windows.net/models?sv=2025&sig=secret",
        "https://account.blob.core.windows.net/models#secret",
        "https://user:secret@account.blob.core.windows.net/models",
        "https://account.blob.core.windows.net/models/../secret",
    ],
)
def test_other_urls_are_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(ValueError, match=r"^(it |no blob)") as refusal:
        parse_container_url(url)
    assert "secret" not in str(refusal.value)


def test_folder_is_no_url() -> None:
    assert not is_url("/srv/models")
    assert not is_url("samples/models")
