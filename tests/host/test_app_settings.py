"""App settings: local.settings.json under the environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devhost.app_settings import LocalSettings, merge_settings, read_local_settings, worker_environment
from devhost.errors import ConfigurationError


def test_values_and_host_section_are_read(tmp_path: Path) -> None:
    path = tmp_path / "local.settings.json"
    host = {"LocalHttpPort": 7080, "CORS": "https://a.example/, https://b.example", "CORSCredentials": True}
    path.write_text(json.dumps({"IsEncrypted": False, "Values": {"A": "1", "B": True, "C": 5}, "Host": host}))

    assert read_local_settings(path) == LocalSettings(
        values={"A": "1", "B": "true", "C": "5"},
        port=7080,
        cors_origins=("https://a.example", "https://b.example"),
        cors_credentials=True,
    )


def test_a_missing_file_is_no_settings(tmp_path: Path) -> None:
    assert read_local_settings(tmp_path / "local.settings.json") == LocalSettings()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "not valid JSON"),
        ("[]", "must be a JSON object"),
        ('{"IsEncrypted": true}', "encrypted"),
        ('{"Values": {"A": {}}}', "'A' must be a string"),
        ('{"Values": ["A"]}', "'Values' must be a JSON object"),
        ('{"Host": "*"}', "'Host' must be a JSON object"),
        ('{"Host": {"LocalHttpPort": "seven"}}', "LocalHttpPort must be a number, not 'seven'"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "local.settings.json"
    path.write_text(text)

    with pytest.raises(ConfigurationError, match=sentence):
        read_local_settings(path)


def test_the_environment_wins_and_says_which_settings_it_overrode() -> None:
    merged, overridden = merge_settings({"A": "file", "B": "file"}, {"A": "environment", "PATH": "/bin"})

    assert merged == {"A": "environment", "B": "file", "PATH": "/bin"}
    assert overridden == ["A"]


def test_a_worker_gets_what_the_real_host_sets(tmp_path: Path) -> None:
    environment = worker_environment({"AZURE_FUNCTIONS_ENVIRONMENT": "Staging"}, tmp_path, 7071)

    assert environment == {
        "AZURE_FUNCTIONS_ENVIRONMENT": "Staging",
        "FUNCTIONS_WORKER_RUNTIME": "python",
        "FUNCTIONS_CORETOOLS_ENVIRONMENT": "True",
        "AzureWebJobsScriptRoot": str(tmp_path),
        "WEBSITE_HOSTNAME": "localhost:7071",
    }


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "local.settings.json").mkdir()

    with pytest.raises(ConfigurationError, match=r"local\.settings\.json cannot be read: Is a directory\."):
        read_local_settings(tmp_path / "local.settings.json")
