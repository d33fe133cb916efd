"""What is wrong with a value that a pydantic model refused, in one sentence that never holds the value itself."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError, model_validator

from inference.redaction import redact_url

#: Problems that one sentence names; a broken document may have thousands.
_MOST_PROBLEMS = 3

#: Keys that are looked at in one object of a caller's: pydantic keeps a problem, of hundreds of bytes, for each that it
#: refuses, and a body has room for millions.
_MOST_KEYS = 100

_MOST_KEY_CHARACTERS = 64

#: Where pydantic's own words would name a class of ours, or need an explanation themselves, by its type of problem.
_PLAIN_WORDS = {"extra_forbidden": "unknown key", "model_type": "Input should be an object"}


class JsonSize(NamedTuple):
    """How many values a JSON document has at most; commas and brackets in its texts are counted too."""

    values: int
    #: Arrays and objects among them.
    containers: int


def measure_json(document: bytes, end: int | None = None) -> JsonSize:
    """Measure a document, or what is before `end` in it, before it is parsed: a value takes up to hundreds of bytes."""
    containers = document.count(b"[", 0, end) + document.count(b"{", 0, end)
    return JsonSize(document.count(b",", 0, end) + containers + 1, containers)


class SmallObject(BaseModel):
    """What a caller sends, of a few keys; one of very many is refused before any of them is looked at."""

    @model_validator(mode="before")
    @classmethod
    def _has_few_keys(cls, value: Any) -> Any:
        if isinstance(value, dict) and len(value) > _MOST_KEYS:
            raise ValueError(f"an object here has at most {_MOST_KEYS} keys")
        return value


def explain_problem(error: ValidationError, *, under: str = "") -> str:
    """Return the first problem as one sentence with its key, whose path begins with `under`."""
    return f"{_explain(_problems(error)[0], under)}."


def explain_problems(error: ValidationError) -> str:
    """Return the first few problems as one sentence, each with its key."""
    return f"{'; '.join(_explain(problem) for problem in _problems(error)[:_MOST_PROBLEMS])}."


def _problems(error: ValidationError) -> list[Any]:
    # Without input and context: a value may be a secret.
    return [*error.errors(include_url=False, include_input=False, include_context=False)]


def _explain(problem: Any, under: str = "") -> str:
    # "[key]" is pydantic's own word for a problem with the key of a mapping, not with what it holds.
    path = [*([under] if under else []), *(_shown(key) for key in problem["loc"])]
    where = ".".join(part for part in path if part != "[key]")
    what = _PLAIN_WORDS.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
    return f"{where}: {what}" if where else f"{what[:1].upper()}{what[1:]}"


def _shown(key: int | str) -> str:
    """Return a key of the caller's as a sentence holds it: it may be as long as a body, and a url with a secret."""
    shown = redact_url(str(key))
    return shown if len(shown) <= _MOST_KEY_CHARACTERS else f"{shown[:_MOST_KEY_CHARACTERS]}…"
