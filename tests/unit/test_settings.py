"""Settings: parsed once, every problem named, secrets kept out of sight."""

import ipaddress
import os
from pathlib import Path

import pytest
from rich.pretty import pretty_repr

from inference import settings
from inference.errors import SettingsError
from inference.settings import Network, Settings, UrlPrefix


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
        ("INFERENCE_FINISH_POLL_SECONDS", "inf"),
        ("INFERENCE_RETRY_CAP_SECONDS", "604801"),
        ("INFERENCE_SHARD_SIZE", "0"),
        ("INFERENCE_SHARD_SIZE", "10001"),
        ("INFERENCE_MAX_IMAGE_BYTES", "1.5"),
        ("INFERENCE_FETCH_ALLOW", "127.0.0.1/8:80"),
        ("INFERENCE_FETCH_ALLOW", "127.0.0.1:0"),
        ("INFERENCE_FETCH_ALLOW", "127.0.0.1:65536"),
        ("INFERENCE_CALLBACK_ALLOW", "hooks.example"),
        ("INFERENCE_CALLBACK_ALLOW", "ftp://hooks.example/"),
        ("INFERENCE_CALLBACK_ALLOW", "https://user@hooks.example/"),
        ("INFERENCE_CALLBACK_ALLOW", "https://hooks.example/?a=b"),
        ("INFERENCE_CALLBACK_ALLOW", "https://hooks.example/#a"),
        ("INFERENCE_CALLBACK_ALLOW", "https://hooks.example?"),
        ("INFERENCE_CALLBACK_ALLOW", "https://hooks.example:0/"),
        ("INFERENCE_CALLBACK_ALLOW", "https://hooks.example:65536/"),
        ("INFERENCE_CALLBACK_ALLOW", "https://hooks.example/a\\b"),
        ("INFERENCE_CALLBACK_ALLOW", "https://hooks.example/a/../b"),
        ("INFERENCE_CALLBACK_ALLOW", "https://hooks.example/a/%2E%2e"),
        ("INFERENCE_CALLBACK_ALLOW", "https://hooks.example/é"),
        ("INFERENCE_CALLBACK_MAX_ATTEMPTS", "0"),
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
    assert "canary" not in pretty_repr(parsed)  # rich asks structs themselves
    assert "account_name" in repr(parsed)


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
    # onnxruntime and Azure Monitor's exporter are told by others that they are not to report their use.
    readers.remove("__init__.py")
    assert set(readers) <= {"wiring.py", "settings.py"} | {r for r in readers if r.startswith("cli/")}
    assert os.sep


def test_the_callback_prefixes_are_read_with_port_and_path() -> None:
    text = "https://Hooks.example, http://127.0.0.1:9000/a/b,https://[fd00::1]:8443/"
    allow = Settings.from_env({"INFERENCE_CALLBACK_ALLOW": text}).callbacks.allow

    assert allow == (
        UrlPrefix("https", "hooks.example", 443, "/"),
        UrlPrefix("http", "127.0.0.1", 9000, "/a/b"),
        UrlPrefix("https", "fd00::1", 8443, "/"),
    )


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("INFERENCE_CORES", "1.5", "'1.5' is not a whole number"),
        ("INFERENCE_CORES", "2 cores", "'2 cores' is not a whole number"),
        ("INFERENCE_FETCH_TIMEOUT_SECONDS", "15s", "'15s' is not a number"),
        ("INFERENCE_FETCH_TIMEOUT_SECONDS", "nan", "'nan' is not a number"),
    ],
)
def test_what_is_no_number_is_told_in_an_operators_words(name: str, value: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: {reason}$"):
        Settings.from_env({name: value})


@pytest.mark.parametrize(
    ("path", "is_allowed"),
    [
        ("/hooks", True),
        ("/hooks/", True),
        ("/hooks/a..b/.c", True),
        ("/hooks/%2ea", True),
        ("/", False),
        ("/hook", False),
        ("/hooks-of-others", False),
        ("/Hooks", False),
        ("/%68ooks", False),
        ("/hooks/..", False),
        ("/hooks/../a", False),
        ("/hooks/./a", False),
        ("/hooks/.%2e/a", False),
        ("/hooks/%252E%252e/a", False),
        ("/hooks/..%2fa", False),
        ("/hooks/..%5Ca", False),
        ("/hooks/..;x/a", False),
    ],
)
def test_a_prefix_allows_what_lies_below_its_path_and_nothing_that_climbs_out(path: str, is_allowed: bool) -> None:
    for prefix in (UrlPrefix.parse("https://hooks.example/hooks"), UrlPrefix.parse("https://hooks.example:443/hooks")):
        assert prefix.contains("https", "hooks.example", 443, path) is is_allowed


@pytest.mark.parametrize(
    "origin", [("http", "hooks.example", 443), ("https", "hooks.example.evil", 443), ("https", "hooks.example", 8443)]
)
def test_a_prefix_allows_its_own_origin_alone(origin: tuple[str, str, int]) -> None:
    assert not UrlPrefix.parse("https://hooks.example/").contains(*origin, "/")


def test_a_bad_callback_prefix_is_told_without_its_path_which_may_be_a_secret() -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_env({"INFERENCE_CALLBACK_ALLOW": "https://hooks.example/services/canary?a"})

    assert "canary" not in str(refused.value)


def test_the_callback_secret_is_kept_out_of_sight() -> None:
    chosen = Settings.from_env({"INFERENCE_CALLBACK_SECRET": "canary"})

    assert chosen.callbacks.secret == "canary"
    assert "canary" not in repr(chosen)
