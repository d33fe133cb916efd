"""What is wrong with a value that a pydantic model refused, in one sentence for the caller."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError


def explain_problem(error: ValidationError) -> str:
    """Return the first problem as one sentence, without the value, which may be a secret."""
    problem: Any = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {message}." if where else f"{message[:1].upper()}{message[1:]}."
