"""Owns which function answers a path and method, in the host's order of precedence."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import unquote

from devhost.errors import ConfigurationError
from devhost.functions import Function
from devhost.route_templates import RouteTemplate

#: ScriptHost refuses routes that would shadow its own.
RESERVED_PREFIXES = ("admin", "runtime")


class Match(NamedTuple):
    """The function for a request and the route values of its template."""

    function: Function
    route_values: Mapping[str, str]


class Router:
    """The HTTP functions of an app under its route prefix.

    Raises ConfigurationError for a route that the host refuses.
    """

    def __init__(self, functions: Iterable[Function], route_prefix: str) -> None:
        routes = [(_template(function, route_prefix), function) for function in functions if function.is_http]
        self._routes = sorted(routes, key=lambda route: route[0])
        self._literal: dict[tuple[str, str], Match] = {}

    def match(self, method: str, raw_path: str) -> Match | None:
        """Find the function for a method and a raw path (percent-encoded, with its leading slash).

        A method that no matching route accepts finds nothing: the host's routes carry a method constraint, so the
        answer is 404, not 405 (WebScriptHostHttpRoutesManager).
        """
        known = self._literal.get((method, raw_path))
        if known is not None:
            return known
        path = unquote(raw_path.removeprefix("/").removesuffix("/").replace("%2F", "%252F").replace("%2f", "%252f"))
        for template, function in self._routes:
            if function.methods and method not in function.methods:
                continue
            values = template.match(path)
            if values is not None:
                match = Match(function, values)
                if template.is_literal and raw_path == f"/{template.text}":
                    self._literal[method, raw_path] = match
                return match
        return None


def _template(function: Function, route_prefix: str) -> RouteTemplate:
    if function.route.lstrip("/").lower().startswith(RESERVED_PREFIXES):
        raise ConfigurationError(
            f"The specified route conflicts with one or more built in routes: '{function.route}' of '{function.name}'."
        )
    route = function.route.lstrip("/")
    return RouteTemplate(f"{route_prefix}/{route}" if route_prefix else route)
