"""Owns the inline constraints of ASP.NET routes, such as `int` or `length(2,5)`: text in, predicate out."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from uuid import UUID

from devhost.errors import ConfigurationError

Constraint = Callable[[str], bool]


def make_constraint(text: str, template: str) -> Constraint:
    """Make the constraint written as `text` in a template. Raises ConfigurationError for one that is unknown."""
    name, _, rest = text.partition("(")
    arguments = rest.removesuffix(")")
    try:
        return _CONSTRAINTS[name.lower()](arguments)
    except (KeyError, ValueError, TypeError, re.error) as error:
        raise ConfigurationError(f"Route '{template}': '{text}' is not a constraint that the host knows.") from error


def _parses(parse: Callable[[str], object], _arguments: str) -> Constraint:
    def accepts(value: str) -> bool:
        try:
            parse(value)
        except ValueError:
            return False
        return True

    return accepts


def _bounded_integer(bits: int) -> Callable[[str], object]:
    limit = 1 << (bits - 1)

    def parse(value: str) -> int:
        if not re.fullmatch(r"\s*[+-]?[0-9]+\s*", value) or not -limit <= int(value) < limit:
            raise ValueError(value)
        return int(value)

    return parse


def _number(value: str) -> float:
    if "_" in value:
        raise ValueError(value)
    return float(value)


def _boolean(value: str) -> bool:
    if value.strip().lower() not in {"true", "false"}:
        raise ValueError(value)
    return value.lower() == "true"


def _matches(pattern: str) -> Constraint:
    expression = re.compile(pattern, re.IGNORECASE)
    return lambda value: expression.search(value) is not None


def _length(arguments: str) -> Constraint:
    low, _, high = arguments.partition(",")
    least, most = int(low), int(high or low)
    return lambda value: least <= len(value) <= most


def _range(arguments: str) -> Constraint:
    low, _, high = arguments.partition(",")
    return _between(int(low), int(high))


def _between(least: int | None, most: int | None) -> Constraint:
    is_long = _parses(_bounded_integer(64), "")

    def accepts(value: str) -> bool:
        return is_long(value) and (least is None or int(value) >= least) and (most is None or int(value) <= most)

    return accepts


def _minimum_length(arguments: str) -> Constraint:
    least = int(arguments)
    return lambda value: len(value) >= least


def _maximum_length(arguments: str) -> Constraint:
    most = int(arguments)
    return lambda value: len(value) <= most


#: The inline constraints of ASP.NET Core (RouteOptions.GetDefaultConstraintMap) that make sense in a Functions route.
_CONSTRAINTS: Mapping[str, Callable[[str], Constraint]] = {
    "int": partial(_parses, _bounded_integer(32)),
    "long": partial(_parses, _bounded_integer(64)),
    "bool": partial(_parses, _boolean),
    "datetime": partial(_parses, datetime.fromisoformat),
    "decimal": partial(_parses, _number),
    "double": partial(_parses, _number),
    "float": partial(_parses, _number),
    "guid": partial(_parses, UUID),
    "alpha": lambda _: _matches(r"^[a-z]*$"),
    "regex": _matches,
    "required": lambda _: bool,
    "length": _length,
    "minlength": _minimum_length,
    "maxlength": _maximum_length,
    "min": lambda arguments: _between(int(arguments), None),
    "max": lambda arguments: _between(None, int(arguments)),
    "range": _range,
}
