"""Reads Bicep as data with pycep; it refuses to evaluate expressions.

pycep knows Bicep of about 2022, checkov reads Bicep through it too, so the templates keep to that syntax. The one newer
thing they need, `@onlyIfNotExists()`, is taken out before reading.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycep import BicepParser

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "infra/bicep"
FILES = sorted(FOLDER.rglob("*.bicep"))


@dataclass(frozen=True)
class Resource:
    """One resource with its loop or condition taken off."""

    type: str
    api_version: str
    existing: bool
    config: dict[str, Any]


@dataclass(frozen=True)
class Module:
    """One use of another file."""

    path: Path
    params: dict[str, Any]


@dataclass(frozen=True)
class Template:
    """One Bicep file."""

    parameters: dict[str, dict[str, Any]]
    variables: dict[str, Any]
    resources: dict[str, Resource]
    modules: dict[str, Module]
    outputs: dict[str, Any]

    def required(self) -> set[str]:
        """Return the parameters that a caller must give."""
        return {name for name, parameter in self.parameters.items() if parameter["default"] is None}

    def of_type(self, type_: str) -> list[Resource]:
        """Return the resources of one type that this file makes."""
        return [found for found in self.resources.values() if found.type == type_ and not found.existing]


@functools.cache
def read(path: Path) -> Template:
    """Parse one file. Raises lark's errors where pycep cannot."""
    tree: Any = _parser().parse(text=re.sub(r"^@onlyIfNotExists\(\)\n", "", path.read_text(), flags=re.MULTILINE))
    return Template(
        parameters=tree.get("parameters", {}),
        variables={name: variable["value"] for name, variable in tree.get("variables", {}).items()},
        resources={
            name: Resource(found["type"], found["api_version"], found["existing"], _bare(found["config"]))
            for name, found in tree.get("resources", {}).items()
        },
        modules={
            name: Module((path.parent / found["detail"]["path"]).resolve(), _bare(found["config"]).get("params", {}))
            for name, found in tree.get("modules", {}).items()
        },
        outputs={name: output["value"] for name, output in tree.get("outputs", {}).items()},
    )


@functools.cache
def _parser() -> BicepParser:
    return BicepParser(cache=False)


def _bare(config: dict[str, Any]) -> dict[str, Any]:
    while "config" in config and ("condition" in config or "loop_type" in config):
        config = config["config"]
    return config
