"""Settings: parsed once, every problem named, secrets kept out of sight."""

import ipaddress
import os
from pathlib import Path

import pytest

from inference import settings
from inference.errors import SettingsError
from inference.settings import Network, Settings


def test_nothing_set_gives_the_defaults() -> None:
    assert Settings.from_env({}) == Settings()


def test_an_empty_value_is_as_good_as_unset() -> None:
    assert Settings.from_env({"INFERENCE_SHARD_SIZE": " "}).batch.shard_size == Settings().batch.shard_size


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_env(
            {"INFERENCE_SHARD_SIZE": "0", "INFERENCE_FETCH_HTTP": "perhaps", "INFERENCE_FETCH_ALLOW": "10.0.0.0/8"}
        )

    assert [problem.partition(":")[0] for problem in refused.value.problems] == [
        "INFERENCE_FETCH_ALLOW",
        "INFERENCE_FETCH_HTTP",
        "INFERENCE_SHARD_SIZE",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INFERENCE_RETRY_BASE_SECONDS", "nan"),
        ("INFERENCE_RETRY_BASE_SECONDS", "-1"),
        ("INFERENCE_MAX_IMAGE_BYTES", "1.5"),
        ("INFERENCE_FETCH_ALLOW", "127.0.0.1/8:80"),
        ("INFERENCE_FETCH_ALLOW", "127.0.0.1:0"),
        ("INFERENCE_FETCH_ALLOW", "127.0.0.1:65536"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_env({name: value})


def test_the_allow_list_takes_both_families_and_matches_only_its_own() -> None:
    allow = Settings.from_env({"INFERENCE_FETCH_ALLOW": "10.0.0.0/8:8080, [fd00::/8]:443,127.0.0.1:9"}).fetch.allow

    assert allow[0].contains(ipaddress.ip_address("10.1.2.3"), 8080)
    assert not allow[0].contains(ipaddress.ip_address("10.1.2.3"), 443)
    assert not allow[0].contains(ipaddress.ip_address("::ffff:10.1.2.3"), 8080)
    assert allow[1].contains(ipaddress.ip_address("fd00::1"), 443)
    assert allow[2] == Network(ipaddress.IPv4Network("127.0.0.1/32"), 9)


def test_the_connection_string_never_shows_in_a_repr() -> None:
    parsed = Settings.from_env({"AzureWebJobsStorage": "AccountKey=canary"})

    assert parsed.storage.connection_string == "AccountKey=canary"
    assert "canary" not in repr(parsed)


def test_a_misspelt_setting_is_found() -> None:
    assert settings.unknown({"INFERENCE_SHARDSIZE": "1", "INFERENCE_SHARD_SIZE": "1", "PATH": ""}) == [
        "INFERENCE_SHARDSIZE"
    ]


def test_names_are_unique_and_every_setting_is_explained() -> None:
    declared = list(settings.declared())

    assert len({setting.name for setting in declared}) == len(declared)
    assert all(setting.doc.endswith((".", "`")) for setting in declared)


def test_no_module_but_the_wiring_reads_the_environment() -> None:
    root = Path(settings.__file__).parent
    readers = [
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if any(text in path.read_text() for text in ("os.environ", "os.getenv"))
    ]

    # An entry script is told its folder by a variable, which that module sets and takes away again.
    readers.remove("models/script.py")
    assert set(readers) <= {"wiring.py", "settings.py"} | {r for r in readers if r.startswith("cli/")}
    assert os.sep
