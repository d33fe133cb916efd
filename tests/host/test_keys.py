"""Access keys: made once, kept, and what each opens."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from devhost.errors import ConfigurationError
from devhost.keys import Keys, load_keys

KEYS = Keys(master="m", system=("s",), host=("h",), functions={"score": ("f",), "other": ("o",)})


@pytest.mark.parametrize(
    ("key", "level", "opens"),
    [
        (None, "ANONYMOUS", True),
        ("wrong", "ANONYMOUS", True),
        (None, "FUNCTION", False),
        ("wrong", "FUNCTION", False),
        ("f", "FUNCTION", True),
        ("o", "FUNCTION", False),
        ("h", "FUNCTION", True),
        ("s", "FUNCTION", False),
        ("m", "FUNCTION", True),
        ("f", "ADMIN", False),
        ("h", "ADMIN", False),
        ("m", "ADMIN", True),
        ("ü", "FUNCTION", False),
    ],
)
def test_a_key_opens_what_it_opens_on_the_real_host(key: str | None, level: str, opens: bool) -> None:
    assert KEYS.opens(key, "score", level) is opens


def test_keys_are_made_once_and_kept_where_only_the_user_can_read_them(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"

    first = load_keys(folder, ["Score"])
    second = load_keys(folder, ["Score"])

    assert first == second
    assert len({first.master, *first.host, *first.functions["Score"]}) == 3
    assert json.loads((folder / "host.json").read_text())["masterKey"]["name"] == "master"
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", r"secrets/host\.json is not valid JSON; delete it"),
        ("{}", "secrets holds no keys as the host writes them"),
        ("[]", "secrets holds no keys as the host writes them"),
    ],
)
def test_a_file_that_holds_no_keys_is_named(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "host.json").write_text(content)

    with pytest.raises(ConfigurationError, match=sentence):
        load_keys(tmp_path / "secrets", [])


def test_a_folder_that_takes_no_keys_is_named(tmp_path: Path) -> None:
    (tmp_path / ".devhost").write_text("")

    with pytest.raises(ConfigurationError, match=r"host\.json cannot be read or written: Not a directory\."):
        load_keys(tmp_path / ".devhost" / "secrets", [])


def test_keys_that_could_not_be_written_whole_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(ConfigurationError, match="No space left on device"):
            load_keys(tmp_path, [])

    assert list(tmp_path.iterdir()) == []
