"""Owns ASP.NET route templates: parsing, matching a path, and the order in which the host tries them.

It knows nothing of functions, methods or requests.
"""

import re
from collections.abc import Mapping

from msgspec import Struct

from devhost.errors import ConfigurationError
from devhost.route_constraints import Constraint, make_constraint

_PARAMETER = re.compile(r"^(\*{0,2})([^*:=?{}/]+)((?::.*)?)$", re.DOTALL)


class Parameter(Struct, frozen=True):
    """`{name}` in a template, with what its constraints ask for."""

    name: str
    constraints: tuple[Constraint, ...] = ()
    default: str | None = None
    is_optional: bool = False
    is_catch_all: bool = False


Part = str | Parameter
Segment = tuple[Part, ...]


class RouteTemplate:
    """One parsed template, such as `api/models/{model}/versions/{version:int}`.

    Raises ConfigurationError for a template that ASP.NET would refuse.
    """

    def __init__(self, text: str) -> None:
        self.text = text.strip("/")
        self.segments = tuple(_parse_segment(segment, text) for segment in _split_segments(self.text))
        self.parameters = [part for segment in self.segments for part in segment if isinstance(part, Parameter)]
        if any(is_catch_all(part) for segment in self.segments[:-1] for part in segment):
            raise ConfigurationError(f"Route '{text}': a catch-all parameter must come last.")
        if len({parameter.name.lower() for parameter in self.parameters}) < len(self.parameters):
            raise ConfigurationError(f"Route '{text}': a parameter appears twice.")
        self._groups = {f"p{index}": parameter for index, parameter in enumerate(self.parameters)}
        self._pattern = re.compile(self._regex(), re.IGNORECASE | re.DOTALL)

    @property
    def is_literal(self) -> bool:
        return not self.parameters

    def match(self, path: str) -> dict[str, str] | None:
        """Match a percent-decoded path without its outer slashes; return the route values, or None."""
        found = self._pattern.fullmatch(path)
        if found is None:
            return None
        values: dict[str, str] = {}
        for group, parameter in self._groups.items():
            value = found[group] or parameter.default
            if value is None:
                if parameter.is_optional or parameter.is_catch_all:
                    continue
                return None
            if not all(accepts(value) for accepts in parameter.constraints):
                return None
            values[parameter.name] = value
        return values

    def _regex(self) -> str:
        """An expression with a group p0, p1, … for each parameter; optional segments swallow their slash."""
        numbers = {parameter.name: group for group, parameter in self._groups.items()}
        expression = ""
        for index, segment in enumerate(self.segments):
            slash = "/" if index else ""
            body = "".join(_part_regex(part, numbers) for part in segment)
            if all(isinstance(part, Parameter) and _may_be_missing(part) for part in segment):
                expression += f"(?:{slash}{body})?"
            else:
                expression += f"{slash}{body}"
        return expression

    def __lt__(self, other: "RouteTemplate") -> bool:
        """Order as the host's WebJobsRouteBuilder does: literals before parameters, constrained ones before free ones,
        longer templates before shorter ones; catch-alls after everything."""
        return _compare(self, other) < 0


def _compare(left: RouteTemplate, right: RouteTemplate) -> int:
    for one, two in zip(left.segments, right.segments, strict=False):
        order = _compare_parts(one[0], two[0])
        if order:
            return order
    return len(right.segments) - len(left.segments)


def _compare_parts(one: Part, two: Part) -> int:
    if isinstance(one, Parameter) and isinstance(two, Parameter):
        if one.is_catch_all != two.is_catch_all:
            return 1 if one.is_catch_all else -1
        return len(two.constraints) - len(one.constraints)
    if isinstance(one, Parameter) or isinstance(two, Parameter):
        return 1 if isinstance(one, Parameter) else -1
    return (one.lower() > two.lower()) - (one.lower() < two.lower())


def is_catch_all(part: Part) -> bool:
    return isinstance(part, Parameter) and part.is_catch_all


def _may_be_missing(parameter: Parameter) -> bool:
    return parameter.is_optional or parameter.is_catch_all or parameter.default is not None


def _part_regex(part: Part, numbers: Mapping[str, str]) -> str:
    if isinstance(part, str):
        return re.escape(part)
    return f"(?P<{numbers[part.name]}>{'.*' if part.is_catch_all else '[^/]+'})"


def _split_segments(template: str) -> list[str]:
    """Split at slashes outside of braces: a regex constraint may hold one."""
    segments, depth, start = [], 0, 0
    for index, character in enumerate(template):
        if character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
        elif character == "/" and depth == 0:
            segments.append(template[start:index])
            start = index + 1
    if depth:
        raise ConfigurationError(f"Route '{template}': a brace is not closed.")
    segments.append(template[start:])
    if "" in segments and template:
        raise ConfigurationError(f"Route '{template}': a segment is empty.")
    return [segment for segment in segments if segment]


def _parse_segment(segment: str, template: str) -> Segment:
    parts: list[Part] = []
    literal, index = "", 0
    while index < len(segment):
        if segment[index] in "{}" and segment[index : index + 2] in {"{{", "}}"}:
            literal, index = literal + segment[index], index + 2
        elif segment[index] == "{":
            end = _closing_brace(segment, index, template)
            parts += [literal] if literal else []
            parts.append(_parse_parameter(segment[index + 1 : end], template))
            literal, index = "", end + 1
        elif segment[index] == "}":
            raise ConfigurationError(f"Route '{template}': a brace is not opened.")
        else:
            literal, index = literal + segment[index], index + 1
    return tuple([*parts, literal] if literal else parts)


def _closing_brace(segment: str, start: int, template: str) -> int:
    """Find the brace that ends the parameter at `start`; a doubled one belongs to a regex constraint."""
    index = start + 1
    while index < len(segment):
        if segment[index] == "}":
            if segment[index + 1 : index + 2] != "}":
                return index
            index += 1
        index += 1
    raise ConfigurationError(f"Route '{template}': a brace is not closed.")


def _parse_parameter(text: str, template: str) -> Parameter:
    text = text.replace("{{", "{").replace("}}", "}")
    is_optional = text.endswith("?")
    text = text.removesuffix("?")
    default = None
    if "=" in text and "(" not in text.partition("=")[0]:
        text, _, default = text.partition("=")
    match = _PARAMETER.match(text)
    if match is None:
        raise ConfigurationError(f"Route '{template}': '{{{text}}}' is not a parameter.")
    stars, name, constraints = match.groups()
    return Parameter(
        name=name,
        constraints=tuple(make_constraint(item, template) for item in _split_constraints(constraints)),
        default=default,
        is_optional=is_optional,
        is_catch_all=bool(stars),
    )


def _split_constraints(text: str) -> list[str]:
    """Split `:int:range(1,5)` at the colons outside of parentheses."""
    items, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == ":" and depth == 0:
            items.append("")
        else:
            items[-1] += character
    return [item for item in items if item]
