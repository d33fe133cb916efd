"""What a document from outside must be: parsed JSON or TOML becomes an object of ours, or one sentence says why not.

The sentence names the key and never holds the value, which may be a secret. It refuses to guess: no text is read as a
number, and no number that is none (not a number, infinity) is one. msgspec does the work; a start waits 7 ms for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, Self, TypeAliasType, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct, structs

from inference.redaction import redact_url

#: Problems that one sentence names; a broken document may have thousands.
_MOST_PROBLEMS: Final = 3
_MOST_KEY_CHARACTERS: Final = 64
#: How deep a key is looked for that is taken out of a table.
_DEPTH: Final = 3

#: Finite: JSON and TOML have larger exponents, and TOML has infinities.
Number = Annotated[float, Meta(ge=-1.7e308, le=1.7e308)]

_MESSAGE: Final = re.compile(r"(?P<what>.*?)(?: - at (?:`key` in )?`\$(?P<path>.*)`)?", re.DOTALL)
_FIELD: Final = re.compile(r"(?P<what>Object contains unknown|Object missing required) field `(?P<name>.*)`", re.DOTALL)
#: What a `__post_init__` says of one key.
_OWN: Final = re.compile(r"(?P<key>\w+): ")
_PATH: Final = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_TYPES: Final = re.compile(r"`([a-z |]+)`")
_WORDS: Final = {
    "array": "a list",
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "null": "nothing",
    "object": "an object",
    "str": "a text",
}


class Misfit(ValueError):
    """The document is not what it must be; the text is the sentence, without its full stop."""


class Record(Struct, frozen=True):
    """An object that we write ourselves: keys of a later release are passed over, so that releases can mix."""

    def changed(self, **changes: Any) -> Self:
        """Return a copy with other values, whose types are not checked."""
        return structs.replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, what is in them as it is."""
        return structs.asdict(self)


class Table(Record, frozen=True, forbid_unknown_fields=True):
    """An object whose keys are known; another one is refused.

    `__post_init__` may raise ValueError for what else must hold: a sentence, or `key: sentence`.
    """


def read[T](kind: type[T], value: object, *, under: str = "") -> T:
    """Return what `value`, parsed already, is as a `kind`; paths in the sentence begin with `under`. Raises Misfit."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        raise Misfit(_explain(exc, kind, under).sentence) from None


def read_table[T](kind: type[T], value: Mapping[str, Any]) -> T:
    """Return what `value` is as a `kind`. Raises Misfit that names the first few keys that are wrong."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        raise Misfit("; ".join(_find_problems(exc, kind, _copied(value)))) from None


def read_number[N: (int, float)](kind: type[N], text: str) -> N:
    """Return the number that a query or a form says. Raises ValueError.

    Python by itself also takes underscores, and the digits of every script.
    """
    if "_" in text or not text.isascii():
        raise ValueError("not a number")
    return kind(text)


class JsonSize(NamedTuple):
    """How many values a JSON document has at most; commas and brackets in its texts are counted too."""

    values: int
    #: Arrays and objects among them.
    containers: int


def measure_json(document: bytes, end: int | None = None) -> JsonSize:
    """Measure a document, or what is before `end` in it, before it is parsed: a value takes up to hundreds of bytes."""
    containers = document.count(b"[", 0, end) + document.count(b"{", 0, end)
    return JsonSize(document.count(b",", 0, end) + containers + 1, containers)


class _Problem(NamedTuple):
    sentence: str
    path: list[str]


def _find_problems(error: msgspec.ValidationError, kind: Any, left: Any) -> Iterator[str]:
    """Yield the first few problems: what is wrong is taken out of the document, and the rest is looked at again."""
    for number in range(_MOST_PROBLEMS):
        problem = _explain(error, kind, "")
        if number and not problem.path:
            return  # it is about the whole, of which something was taken out
        yield problem.sentence
        if not _without(left, problem.path):
            return
        try:
            msgspec.convert(left, kind)
        except msgspec.ValidationError as next_error:
            error = next_error
        else:
            return


def _explain(error: msgspec.ValidationError, kind: Any, under: str) -> _Problem:
    match = _MESSAGE.fullmatch(str(error))
    what, where = (match["what"], match["path"] or "") if match else (str(error), "")
    # msgspec does not tell the keys of an object that may have any.
    path = [name or index.replace("...", "*") for name, index in _PATH.findall(where)]
    if field := _FIELD.fullmatch(what):
        path.append(field["name"])
        what = "unknown key" if "unknown" in field["what"] else "missing"
    elif own := _OWN.match(what):
        path.append(own["key"])
        what = what[own.end() :]
    elif what.startswith("Invalid enum value"):
        what = f"expected one of {', '.join(map(repr, _choices(kind, path)))}"
    else:
        what = _TYPES.sub(_in_words, what)
        what = what[:1].lower() + what[1:]
    shown = ".".join([*([under] if under else []), *map(_shown, path)])
    return _Problem(f"{shown}: {what}" if shown else f"{what[:1].upper()}{what[1:]}", path)


def _in_words(match: re.Match[str]) -> str:
    names = [name for name in match[1].split(" | ") if name != "null"] or ["null"]
    return " or ".join(_WORDS.get(name, name) for name in names)


def _choices(kind: Any, path: list[str]) -> tuple[Any, ...]:
    """Return the values that the field at `path` of a `kind` may have."""
    found: Any = kind
    for key in path:
        for part in _parts(found):
            if isinstance(part, type) and issubclass(part, Struct):
                found = get_type_hints(part, include_extras=True).get(key)
            elif arguments := [each for each in get_args(part) if each is not Ellipsis]:
                found = arguments[-1]  # of a list, a tuple, or the values of an object
    return next((get_args(part) for part in _parts(found) if get_origin(part) is Literal), ())


def _parts(annotation: Any) -> list[Any]:
    """Return a type, or the types of a union, without their aliases and annotations."""
    while isinstance(annotation, TypeAliasType):
        annotation = annotation.__value__
    if get_origin(annotation) is Annotated:
        return _parts(get_args(annotation)[0])
    if get_origin(annotation) in (None, Literal, list, tuple, dict):
        return [annotation]
    return [part for each in get_args(annotation) for part in _parts(each)]


def _shown(key: str) -> str:
    """Return a key of the caller's as a sentence holds it: it may be as long as a body, and a url with a secret."""
    shown = redact_url(key)
    return shown if len(shown) <= _MOST_KEY_CHARACTERS else f"{shown[:_MOST_KEY_CHARACTERS]}…"


def _copied(value: Any, depth: int = _DEPTH) -> Any:
    if not isinstance(value, Mapping) or not depth:
        return value
    return {key: _copied(each, depth - 1) for key, each in value.items()}


def _without(document: Any, path: list[str]) -> bool:
    """Take the key at `path`, or the list that it is in, out of the document; return whether there was one."""
    path = path[:_DEPTH]
    for index, key in enumerate(path):
        child = document.get(key) if isinstance(document, dict) else None
        if child is None:
            return False
        if index == len(path) - 1 or not isinstance(child, dict):
            del document[key]
            return True
        document = child
    return False
