"""Owns the app settings of a local run: local.settings.json under the environment, and what the host adds to them.

It refuses encrypted files, which only `func settings decrypt` can read.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from devhost.errors import ConfigurationError


class LocalSettings(NamedTuple):
    """local.settings.json: app settings (`Values`) and the section `Host`."""

    values: Mapping[str, str] = MappingProxyType({})
    port: int | None = None
    address: str | None = None
    cors_origins: tuple[str, ...] = ()
    cors_credentials: bool = False


def read_local_settings(path: Path) -> LocalSettings:
    """Read local.settings.json; a missing file is empty settings.

    Raises ConfigurationError when it cannot be read, is encrypted, is not JSON, or a value is not a scalar.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return LocalSettings()
    except OSError as error:
        raise ConfigurationError(f"local.settings.json cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigurationError(f"local.settings.json is not valid JSON: {error}.") from error
    if not isinstance(document, dict):
        raise ConfigurationError("local.settings.json must be a JSON object.")
    if document.get("IsEncrypted"):
        raise ConfigurationError("local.settings.json is encrypted; run `func settings decrypt` first.")
    host = _section(document, "Host")
    origins = str(host.get("CORS") or "")
    return LocalSettings(
        values={name: _scalar(name, value) for name, value in _section(document, "Values").items()},
        port=_port(host.get("LocalHttpPort")),
        address=None if host.get("LocalHttpAddress") is None else str(host["LocalHttpAddress"]),
        cors_origins=tuple(origin.strip().rstrip("/") for origin in origins.split(",") if origin.strip()),
        cors_credentials=bool(host.get("CORSCredentials")),
    )


def _section(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = document.get(name) or {}
    if not isinstance(section, dict):
        raise ConfigurationError(f"local.settings.json: '{name}' must be a JSON object.")
    return section


def _port(value: Any) -> int | None:
    if value is None:
        return None
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ConfigurationError(f"local.settings.json: LocalHttpPort must be a number, not {value!r}.") from None


def _scalar(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise ConfigurationError(f"local.settings.json: the value of '{name}' must be a string.")


def merge_settings(values: Mapping[str, str], environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the worker's environment and the names of the settings that the environment overrode.

    >>> merge_settings({"A": "file", "B": "file"}, {"A": "environment"})
    ({'A': 'environment', 'B': 'file'}, ['A'])
    """
    overridden = [name for name in values if name in environment]
    return {**environment, **{k: v for k, v in values.items() if k not in environment}}, overridden


def worker_environment(settings: Mapping[str, str], app_dir: Path, port: int) -> dict[str, str]:
    """Add what the real host and Core Tools set for a worker; a setting of the user's stays as it is."""
    defaults = {
        "AZURE_FUNCTIONS_ENVIRONMENT": "Development",
        "FUNCTIONS_WORKER_RUNTIME": "python",
        "FUNCTIONS_CORETOOLS_ENVIRONMENT": "True",
        "AzureWebJobsScriptRoot": str(app_dir),
    }
    return {**defaults, **settings, "WEBSITE_HOSTNAME": f"localhost:{port}"}
