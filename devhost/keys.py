"""Owns the access keys of a local run with auth enabled: made once, kept in the host's own JSON shape, checked.

It refuses to serve them over HTTP; the file says what they are.
"""

import hmac
import json
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from msgspec import Struct

from devhost.errors import ConfigurationError


class Keys(Struct, frozen=True):
    """Key values by reach; `functions` by function name."""

    master: str
    system: tuple[str, ...]
    host: tuple[str, ...]
    functions: dict[str, tuple[str, ...]]

    def is_admin(self, key: str | None) -> bool:
        """Only the master key opens the admin API and functions of level ADMIN."""
        return key is not None and _equals(key, self.master)

    def opens(self, key: str | None, function_name: str, auth_level: str) -> bool:
        """Say whether a key may invoke a function of that level (ANONYMOUS, FUNCTION, ADMIN)."""
        if auth_level == "ANONYMOUS":
            return True
        if self.is_admin(key):
            return True
        if auth_level == "ADMIN" or key is None:
            return False
        accepted = (*self.host, *self.functions.get(function_name, ()))
        return any(_equals(key, candidate) for candidate in accepted)


def _equals(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def load_keys(folder: Path, function_names: Iterable[str]) -> Keys:
    """Read the keys in `folder`, and make missing ones.

    The files are host.json and FUNCTION.json, as with AzureWebJobsSecretStorageType=files. Raises ConfigurationError.
    """
    host = _load(folder / "host.json", _new_host_secrets)
    functions = {name: _load(folder / f"{name.lower()}.json", _new_function_secrets) for name in function_names}
    try:
        return Keys(
            master=host["masterKey"]["value"],
            system=_values(host["systemKeys"]),
            host=_values(host["functionKeys"]),
            functions={name: _values(document["keys"]) for name, document in functions.items()},
        )
    except (KeyError, TypeError):
        raise ConfigurationError(
            f"A file in {folder} holds no keys as the host writes them; delete the folder, and new ones are made."
        ) from None


def _load(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        if not path.exists():
            _write(path, json.dumps(make(), indent=2))
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"The keys in {path} cannot be read or written: {error.strerror}.") from error
    except ValueError:
        raise ConfigurationError(f"{path} is not valid JSON; delete it, and new keys are made.") from None
    return document


def _write(path: Path, text: str) -> None:
    """Write the file whole or not at all: half of one would be in the way of every later start."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _new_host_secrets() -> dict[str, Any]:
    return {"masterKey": _new_key("master"), "functionKeys": [_new_key("default")], "systemKeys": []}


def _new_function_secrets() -> dict[str, Any]:
    return {"keys": [_new_key("default")]}


def _new_key(name: str) -> dict[str, Any]:
    return {"name": name, "value": secrets.token_urlsafe(40), "encrypted": False}


def _values(keys: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(str(key["value"]) for key in keys)
