"""Owns what the host knows of a function: its name, its bindings and what follows from them.

It reads a worker's metadata; it does not run or route anything.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from typing import Any

from msgspec import Struct

from devhost.errors import ConfigurationError

#: Trigger types that the host can fire. `func` accepts more; a function with another one is refused at load.
SUPPORTED_TRIGGERS = ("httpTrigger", "queueTrigger", "timerTrigger", "warmupTrigger")
SUPPORTED_INPUTS = ("blob",)
SUPPORTED_OUTPUTS = ("http", "queue", "blob")

_SETTING = re.compile(r"%([^%]+)%")


class Binding(Struct, frozen=True):
    """One binding of a function, with its `%setting%` references resolved."""

    type: str
    name: str
    direction: str
    properties: Mapping[str, Any]

    @property
    def is_trigger(self) -> bool:
        return self.type.endswith("Trigger")

    @property
    def is_output(self) -> bool:
        return self.direction == "OUT"


class Function(Struct, frozen=True, dict=True):
    """One function of the app."""

    name: str
    function_id: str
    bindings: tuple[Binding, ...]
    is_disabled: bool = False

    @cached_property
    def trigger(self) -> Binding:
        return next(binding for binding in self.bindings if binding.is_trigger)

    @cached_property
    def inputs(self) -> tuple[Binding, ...]:
        """Input bindings besides the trigger."""
        return tuple(b for b in self.bindings if not b.is_output and not b.is_trigger)

    @cached_property
    def outputs(self) -> tuple[Binding, ...]:
        """Output bindings besides the HTTP reply."""
        return tuple(b for b in self.bindings if b.is_output and b.type != "http")

    @cached_property
    def is_http(self) -> bool:
        return self.trigger.type == "httpTrigger"

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """Upper-case methods; empty means every method."""
        return tuple(str(method).upper() for method in self.trigger.properties.get("methods") or ())

    @cached_property
    def route(self) -> str:
        return str(self.trigger.properties.get("route") or self.name)

    @cached_property
    def auth_level(self) -> str:
        """ANONYMOUS, FUNCTION or ADMIN; the host's default for a binding that does not say is FUNCTION."""
        return str(self.trigger.properties.get("authLevel") or "FUNCTION").upper()


def read_functions(metadata: Iterable[Mapping[str, Any]], settings: Mapping[str, str]) -> list[Function]:
    """Make functions of a worker's metadata.

    Raises ConfigurationError for a binding that the host does not support, naming function and binding.
    """
    enabled_settings = {name.lower() for name, value in settings.items() if value.lower() in {"1", "true"}}
    return [_read_function(entry, settings, enabled_settings) for entry in metadata]


def _read_function(
    entry: Mapping[str, Any], settings: Mapping[str, str], enabled_settings: Collection[str]
) -> Function:
    name = entry["name"]
    bindings = tuple(_read_binding(json.loads(raw), settings) for raw in entry["bindings"])
    triggers = [binding for binding in bindings if binding.is_trigger]
    if len(triggers) != 1:
        raise ConfigurationError(f"The '{name}' function has {len(triggers)} triggers; it must have exactly one.")
    for binding in bindings:
        _check_supported(name, binding)
    # .NET reads settings without regard to case; a shell has no variables with dots (FunctionIndexer).
    names = (f"azurewebjobs.{name}.disabled".lower(), f"azurewebjobs_{name}_disabled".lower())
    is_disabled = any(name in enabled_settings for name in names)
    return Function(name=name, function_id=entry["id"], bindings=bindings, is_disabled=is_disabled)


def _read_binding(raw: Mapping[str, Any], settings: Mapping[str, str]) -> Binding:
    properties = {
        key: _resolve(value, settings) if isinstance(value, str) and key != "route" else value
        for key, value in raw.items()
    }
    return Binding(raw["type"], raw["name"], str(raw["direction"]).upper(), properties)


def _resolve(text: str, settings: Mapping[str, str]) -> str:
    def value_of(reference: re.Match[str]) -> str:
        name = reference[1]
        if name not in settings:
            raise ConfigurationError(f"'%{name}%' does not resolve to a value: there is no such app setting.")
        return settings[name]

    return _SETTING.sub(value_of, text)


def _check_supported(function_name: str, binding: Binding) -> None:
    supported: tuple[str, ...]
    if binding.is_trigger:
        supported = SUPPORTED_TRIGGERS
    elif binding.is_output:
        supported = SUPPORTED_OUTPUTS
    else:
        supported = SUPPORTED_INPUTS
    if binding.type not in supported:
        raise ConfigurationError(
            f"The '{function_name}' function cannot be run here: the local host knows no binding of type "
            f"'{binding.type}' ({', '.join(supported)})."
        )
