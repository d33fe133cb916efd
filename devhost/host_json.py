"""Owns the reading of host.json: the few sections that the local host acts on, checked as the real host checks them.

App settings named `AzureFunctionsJobHost__section__key` override it, as on the real host ("Override host.json values"
in learn.microsoft.com/azure/azure-functions/functions-host-json).
"""

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from devhost.errors import ConfigurationError

_TIME_SPAN = re.compile(r"^(?:(\d+)\.)?(\d{1,2}):(\d{2}):(\d{2})(?:\.(\d{1,7}))?$")

_OVERRIDE = "azurefunctionsjobhost__"

#: functionTimeout where the plan sets no bound (ScriptJobHostOptionsSetup): 30 minutes.
DEFAULT_FUNCTION_TIMEOUT_SECONDS = 30 * 60.0


class QueueOptions(NamedTuple):
    """`extensions.queues`; defaults and bounds from the Storage extension's QueuesOptions."""

    batch_size: int = 16
    new_batch_threshold: int = 8
    max_dequeue_count: int = 5
    visibility_timeout_seconds: float = 0.0
    max_polling_interval_seconds: float = 60.0
    is_base64: bool = True


class HostJson(NamedTuple):
    """What host.json says, with the platform's defaults for the rest."""

    route_prefix: str = "api"
    function_timeout_seconds: float = DEFAULT_FUNCTION_TIMEOUT_SECONDS
    queues: QueueOptions = QueueOptions()


def read_host_json(
    path: Path, *, is_development: bool, settings: Mapping[str, str] | None = None, processors: int | None = None
) -> HostJson:
    """Read host.json under the overrides among the app settings.

    `is_development` selects the extension's 2-second polling interval for AZURE_FUNCTIONS_ENVIRONMENT=Development.
    Raises ConfigurationError with one sentence when the file is missing, is not JSON or holds a value out of bounds.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"Unable to find project root. Expecting to find host.json in {path.parent}."
        ) from None
    except OSError as error:
        raise ConfigurationError(f"host.json cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigurationError(f"host.json is not valid JSON: {error}.") from error
    root = _Section(document, "host.json", _overrides(settings or {}))
    if root.text("version", "2.0") != "2.0":
        raise ConfigurationError('host.json: "version" must be "2.0".')
    extensions = root.section("extensions")
    return HostJson(
        route_prefix=extensions.section("http").text("routePrefix", "api").strip("/"),
        function_timeout_seconds=_function_timeout(root),
        queues=_queue_options(extensions.section("queues"), is_development, processors or os.cpu_count() or 1),
    )


def _function_timeout(root: "_Section") -> float:
    if root.text("functionTimeout", "") == "-1":
        return math.inf
    seconds = root.seconds("functionTimeout", DEFAULT_FUNCTION_TIMEOUT_SECONDS)
    if seconds < 1:
        raise ConfigurationError("host.json: functionTimeout must be at least 00:00:01, or -1 for none.")
    return seconds


def _queue_options(queues: "_Section", is_development: bool, processors: int) -> QueueOptions:
    batch_size = queues.integer("batchSize", 16, minimum=1, maximum=32)
    encoding = queues.text("messageEncoding", "base64").lower()
    if encoding not in {"base64", "none"}:
        raise ConfigurationError('host.json: extensions.queues.messageEncoding must be "base64" or "none".')
    polling = queues.seconds("maxPollingInterval", 2.0 if is_development else 60.0)
    if polling < 0.1:
        raise ConfigurationError("host.json: extensions.queues.maxPollingInterval must be at least 100 ms.")
    return QueueOptions(
        batch_size=batch_size,
        new_batch_threshold=queues.integer("newBatchThreshold", batch_size // 2 * processors, minimum=0),
        max_dequeue_count=queues.integer("maxDequeueCount", 5, minimum=1),
        visibility_timeout_seconds=queues.seconds("visibilityTimeout", 0.0),
        max_polling_interval_seconds=polling,
        is_base64=encoding == "base64",
    )


class _Section:
    """One JSON object of host.json; keys are matched without regard to case, as .NET configuration does."""

    def __init__(self, value: Any, where: str, overrides: Mapping[tuple[str, ...], str]) -> None:
        if not isinstance(value, dict):
            raise ConfigurationError(f"{where} must be a JSON object.")
        self._values = {str(key).lower(): item for key, item in value.items()}
        self._values |= {path[0]: text for path, text in overrides.items() if len(path) == 1}
        self._where = where
        self._overrides = overrides

    def _name(self, key: str) -> str:
        return f"{self._where}: {key}" if self._where == "host.json" else f"{self._where}.{key}"

    def section(self, key: str) -> "_Section":
        name = key.lower()
        below = {path[1:]: text for path, text in self._overrides.items() if path[0] == name and len(path) > 1}
        return _Section(self._values.get(name) or {}, self._name(key), below)

    def text(self, key: str, default: str) -> str:
        value = self._values.get(key.lower(), default)
        if not isinstance(value, str):
            raise ConfigurationError(f"{self._name(key)} must be a string.")
        return value

    def integer(self, key: str, default: int, *, minimum: int, maximum: int | None = None) -> int:
        value = self._values.get(key.lower(), default)
        if isinstance(value, str) and value.isdecimal():  # an override is text, and .NET converts it
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigurationError(f"{self._name(key)} must be a whole number.")
        if value < minimum or (maximum is not None and value > maximum):
            bounds = f"at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
            raise ConfigurationError(f"{self._name(key)} must be {bounds}, not {value}.")
        return value

    def seconds(self, key: str, default: float) -> float:
        """Read a TimeSpan, `[d.]hh:mm:ss[.fffffff]`."""
        if key.lower() not in self._values:
            return default
        match = _TIME_SPAN.match(str(self._values[key.lower()]))
        if match is None:
            raise ConfigurationError(f'{self._name(key)} must be a time span such as "00:00:30".')
        days, hours, minutes, seconds, fraction = match.groups()
        if int(hours) > 23 or int(minutes) > 59 or int(seconds) > 59:
            raise ConfigurationError(f'{self._name(key)} must be a time span such as "00:00:30".')
        whole = ((int(days or 0) * 24 + int(hours)) * 60 + int(minutes)) * 60 + int(seconds)
        return whole + float(f"0.{fraction or 0}")


def _overrides(settings: Mapping[str, str]) -> dict[tuple[str, ...], str]:
    """Return the overriding values by their path, in lower case."""
    return {
        tuple(name.lower().removeprefix(_OVERRIDE).split("__")): text
        for name, text in settings.items()
        if name.lower().startswith(_OVERRIDE)
    }
