"""A checker for the part of JSON Schema that the API's description uses; it refuses keywords it does not know."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

type Json = dict[str, Any]

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}
_ANNOTATIONS = {"description", "title", "default", "format", "contentEncoding", "contentMediaType", "contentSchema"}


def problems(value: Any, schema: Json, document: Json, where: str = "$") -> Iterator[str]:
    """Yield what is wrong with `value`; `document` is where `$ref` points into."""
    for keyword, wanted in schema.items():
        if keyword in _ANNOTATIONS:
            continue
        check = _KEYWORDS.get(keyword)
        if check is None:
            raise NotImplementedError(f"{keyword} in {where}")
        yield from check(value, wanted, schema, document, where)


def resolve(reference: str, document: Json) -> Any:
    """Return what a local reference points to. Raises KeyError."""
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def _reference(value: Any, wanted: str, _: Json, document: Json, where: str) -> Iterator[str]:
    yield from problems(value, resolve(wanted, document), document, where)


def _type(value: Any, wanted: str | list[str], _: Json, __: Json, where: str) -> Iterator[str]:
    names = [wanted] if isinstance(wanted, str) else wanted
    if not any(_TYPES[name](value) for name in names):
        yield f"{where}: {value!r} is not {' or '.join(names)}"


def _required(value: Any, wanted: list[str], _: Json, __: Json, where: str) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (f"{where}: {name} is missing" for name in wanted if name not in value)


def _properties(value: Any, wanted: Json, _: Json, document: Json, where: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name in value.keys() & wanted.keys():
            yield from problems(value[name], wanted[name], document, f"{where}.{name}")


def _additional(value: Any, wanted: bool | Json, schema: Json, document: Json, where: str) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    for name in value.keys() - schema.get("properties", {}).keys():
        if wanted is False:
            yield f"{where}: {name} is not known"
        elif isinstance(wanted, dict):
            yield from problems(value[name], wanted, document, f"{where}.{name}")


def _property_names(value: Any, wanted: Json, _: Json, document: Json, where: str) -> Iterator[str]:
    for name in value if isinstance(value, dict) else ():
        yield from problems(name, wanted, document, f"{where}.{name}")


def _items(value: Any, wanted: Json, _: Json, document: Json, where: str) -> Iterator[str]:
    for index, item in enumerate(value if isinstance(value, list) else ()):
        yield from problems(item, wanted, document, f"{where}[{index}]")


def _one_of(value: Any, wanted: list[Json], _: Json, document: Json, where: str) -> Iterator[str]:
    found = [list(problems(value, form, document, where)) for form in wanted]
    if sum(not form for form in found) != 1:
        yield f"{where}: {sum(not form for form in found)} forms fit: {found}"


def _any_of(value: Any, wanted: list[Json], _: Json, document: Json, where: str) -> Iterator[str]:
    found = [list(problems(value, form, document, where)) for form in wanted]
    if all(found):
        yield f"{where}: no form fits: {found}"


def _all_of(value: Any, wanted: list[Json], _: Json, document: Json, where: str) -> Iterator[str]:
    for form in wanted:
        yield from problems(value, form, document, where)


def _simple(fits: Callable[[Any, Any], bool]) -> Callable[[Any, Any, Json, Json, str], Iterator[str]]:
    def check(value: Any, wanted: Any, _: Json, __: Json, where: str) -> Iterator[str]:
        if not fits(value, wanted):
            yield f"{where}: {value!r} does not fit {wanted!r}"

    return check


def _compare(fits: Callable[[float, float], bool]) -> Callable[[Any, Any, Json, Json, str], Iterator[str]]:
    return _simple(lambda value, wanted: not isinstance(value, int | float) or fits(value, wanted))


def _length(
    kind: type[list[Any] | str], fits: Callable[[int, int], bool]
) -> Callable[[Any, Any, Json, Json, str], Iterator[str]]:
    return _simple(lambda value, wanted: not isinstance(value, kind) or fits(len(value), wanted))


_KEYWORDS: Mapping[str, Callable[[Any, Any, Json, Json, str], Iterator[str]]] = {
    "$ref": _reference,
    "type": _type,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "propertyNames": _property_names,
    "items": _items,
    "oneOf": _one_of,
    "anyOf": _any_of,
    "allOf": _all_of,
    "enum": _simple(lambda value, wanted: value in wanted),
    "const": _simple(lambda value, wanted: bool(value == wanted)),
    "minimum": _compare(lambda value, wanted: value >= wanted),
    "maximum": _compare(lambda value, wanted: value <= wanted),
    "minItems": _length(list, lambda length, wanted: length >= wanted),
    "maxItems": _length(list, lambda length, wanted: length <= wanted),
    "minLength": _length(str, lambda length, wanted: length >= wanted),
    "maxLength": _length(str, lambda length, wanted: length <= wanted),
    "pattern": _simple(lambda value, wanted: not isinstance(value, str) or re.search(wanted, value) is not None),
}
