"""Owns the host's console: the time-stamped lines and the banner that `func start` prints, or JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from devhost.functions import Function

#: The Core Tools and runtime versions whose behaviour the host stands in for; shown in the banner.
CORE_TOOLS_VERSION = "4.14.0"
RUNTIME_VERSION = "4.1046.100.0"

_is_json = False


def print_json() -> None:
    """From now on print one JSON document, in the banner's place, on stdout; all else is for people, on stderr."""
    global _is_json
    _is_json = True


def log(text: str) -> None:
    """Print one line (or a block) with the time in front, as func does."""
    now = datetime.now(UTC)
    say(f"[{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z] {text}")


def say(text: str) -> None:
    """Print a line without the time: notices before the host runs."""
    _write(sys.stderr if _is_json else sys.stdout, text)


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(f"{text}\n")
        stream.flush()
    except BrokenPipeError:
        # Who read has left, as `head` does. The host goes on in silence, as .NET's console does.
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), stream.fileno())


def complain(text: str) -> None:
    """Print why the host does not run."""
    _write(sys.stderr, text)


def announce(functions: Iterable[Function], base_url: str, route_prefix: str) -> None:
    """Print the banner, now that the host listens."""
    if _is_json:
        _write(sys.stdout, json.dumps(_description(functions, base_url, route_prefix)))
    else:
        say(banner(functions, base_url, route_prefix))


def _description(functions: Iterable[Function], base_url: str, route_prefix: str) -> dict[str, object]:
    described = []
    for function in sorted(functions, key=lambda function: function.name):
        value: dict[str, object] = {"name": function.name, "trigger": function.trigger.type}
        if function.is_http:
            value |= {"methods": list(function.methods), "url": _url(function, base_url, route_prefix)}
        described.append({**value, "is_disabled": function.is_disabled})
    return {"url": base_url, "functions": described}


def _url(function: Function, base_url: str, route_prefix: str) -> str:
    return f"{base_url}/{f'{route_prefix}/' if route_prefix else ''}{function.route}"


def banner(functions: Iterable[Function], base_url: str, route_prefix: str) -> str:
    """Return func's banner with the function list: HTTP functions first, then the others, then the disabled ones."""
    lines = [
        "",
        "Azure Functions Core Tools (local stand-in)",
        f"Core Tools Version:       {CORE_TOOLS_VERSION}+devhost (64-bit)",
        f"Function Runtime Version: {RUNTIME_VERSION}",
        "",
        "Functions:",
        "",
    ]
    enabled = [function for function in functions if not function.is_disabled]
    for function in sorted((f for f in enabled if f.is_http), key=lambda f: f.name):
        methods = f"[{','.join(function.methods)}] " if function.methods else ""
        lines += [f"\t{function.name}: {methods}{_url(function, base_url, route_prefix)}", ""]
    for function in sorted((f for f in enabled if not f.is_http), key=lambda f: f.name):
        lines += [f"\t{function.name}: {function.trigger.type}", ""]
    lines += [f"\tFunction {function.name} is disabled." for function in functions if function.is_disabled]
    lines.append("For detailed output, run func with --verbose flag.")
    return "\n".join(lines)
