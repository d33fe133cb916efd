"""What a caller reads when pydantic refused a value: the key, the problem, and never the value."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from inference.validation import explain_problem, explain_problems


class Person(BaseModel):
    """Something with every kind of problem."""

    model_config = ConfigDict(extra="forbid")

    age: int = 0
    pets: list[int] = Field(default_factory=list)
    rooms: dict[Annotated[str, Field(max_length=2)], int] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Person:
        if self.age == 13:
            raise ValueError("an age of 13 is refused")
        return self


def refusal(**values: object) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        Person.model_validate(values)
    return caught.value


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"age": "secret"}, "age: Input should be a valid integer, unable to parse string as an integer."),
        ({"pets": [1, None]}, "pets.1: Input should be a valid integer."),
        ({"size": 1}, "size: unknown key."),
        ({"age": 13}, "An age of 13 is refused."),
        ({"rooms": {"hall": 1}}, "rooms.hall: String should have at most 2 characters."),
    ],
)
def test_the_sentence_names_the_key_and_not_the_value(values: dict[str, object], sentence: str) -> None:
    assert explain_problem(refusal(**values)) == sentence


def test_a_value_that_is_no_object_is_told_without_the_name_of_a_class() -> None:
    with pytest.raises(ValidationError) as caught:
        Person.model_validate([])

    assert explain_problem(caught.value) == "Input should be an object."


def test_the_path_begins_where_the_caller_says() -> None:
    assert explain_problem(refusal(size=1), under="parameters") == "parameters.size: unknown key."


def test_a_sentence_of_several_problems_is_bounded() -> None:
    assert explain_problems(refusal(a=1, b=2, c=3, d=4)) == "a: unknown key; b: unknown key; c: unknown key."
