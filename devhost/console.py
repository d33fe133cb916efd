"""Owns the host's console: the time-stamped lines and the banner that `func start` prints."""

import sys
from collections.abc import Iterable
from datetime import UTC, datetime

from devhost.functions import Function

#: The Core Tools and runtime versions whose behaviour the host stands in for; shown in the banner.
CORE_TOOLS_VERSION = "4.14.0"
RUNTIME_VERSION = "4.1046.100.0"


def log(text: str) -> None:
    """Print one line (or a block) with the time in front, as func does."""
    now = datetime.now(UTC)
    sys.stdout.write(f"[{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z] {text}\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Print a line without the time: banner, notices before the host runs."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


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
    prefix = f"{route_prefix}/" if route_prefix else ""
    for function in sorted((f for f in enabled if f.is_http), key=lambda f: f.name):
        methods = f"[{','.join(function.methods)}] " if function.methods else ""
        lines += [f"\t{function.name}: {methods}{base_url}/{prefix}{function.route}", ""]
    for function in sorted((f for f in enabled if not f.is_http), key=lambda f: f.name):
        lines += [f"\t{function.name}: {function.trigger.type}", ""]
    lines += [f"\tFunction {function.name} is disabled." for function in functions if function.is_disabled]
    lines.append("For detailed output, run func with --verbose flag.")
    return "\n".join(lines)
