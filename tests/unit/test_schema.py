"""What a caller reads of a document that is not what it must be: the key, the problem, and never the value."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from msgspec import Meta

from inference.schema import JsonSize, Misfit, Number, Table, measure_json, read, read_table

type Colour = Literal["red", "green"]


class House(Table, frozen=True):
    """Something with every kind of problem."""

    rooms: Annotated[int, Meta(ge=1)] | None = None
    colour: Colour | None = None
    sides: tuple[Number, Number] | None = None
    people: dict[Annotated[str, Meta(max_length=4)], Annotated[list[int], Meta(max_length=2)]] | None = None
    annexes: list[House] | None = None

    def __post_init__(self) -> None:
        if self.rooms == 13:
            raise ValueError("rooms: 13 are refused")
        if self.rooms == 14:
            raise ValueError("a house of 14 rooms is refused")


class Street(Table, frozen=True):
    """One with what must be there."""

    name: str
    first: House = House()


class Gate(Table, frozen=True):
    """One that must have something."""

    width: int | None = None

    def __post_init__(self) -> None:
        if self.width is None:
            raise ValueError("a gate has a width")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"rooms": "SECRET"}, "rooms: expected a whole number, got a text"),
        ({"rooms": True}, "rooms: expected a whole number, got true or false"),
        ({"rooms": 1.0}, "rooms: expected a whole number, got a number"),
        ({"rooms": 0}, "rooms: expected a whole number >= 1"),
        ({"rooms": 13}, "rooms: 13 are refused"),
        ({"rooms": 14}, "A house of 14 rooms is refused"),
        ({"annexes": [{"rooms": 13}]}, "annexes.0.rooms: 13 are refused"),
        ({"colour": "SECRET"}, "colour: expected one of 'red', 'green'"),
        ({"colour": 1}, "colour: expected a text, got a whole number"),
        ({"annexes": [{}, {"colour": "SECRET"}]}, "annexes.1.colour: expected one of 'red', 'green'"),
        ({"sides": [1]}, "sides: expected a list of length 2, got 1"),
        ({"sides": [1, float("nan")]}, "sides.1: expected a number >= -1.7e+308"),
        ({"sides": [1, float("inf")]}, "sides.1: expected a number <= 1.7e+308"),
        ({"people": {"SECRET": []}}, "people: expected a text of length <= 4"),
        ({"people": {"a": [1, "SECRET"]}}, "people.*.1: expected a whole number, got a text"),
        ({"size": 1}, "size: unknown key"),
        ({"annexes": [{"size": 1}]}, "annexes.0.size: unknown key"),
        ({"https://host/a?sig=SECRET": 1}, "https://host/a?…: unknown key"),
        ({"k" * 100: 1}, f"{'k' * 64}…: unknown key"),
        ([], "Expected an object, got a list"),
        (None, "Expected an object, got nothing"),
    ],
)
def test_the_sentence_names_the_key_and_not_the_value(value: object, sentence: str) -> None:
    with pytest.raises(Misfit) as refused:
        read(House, value)

    assert str(refused.value) == sentence


def test_what_must_be_there_and_is_not_is_named() -> None:
    with pytest.raises(Misfit, match=r"^name: missing$"):
        read(Street, {})
    with pytest.raises(Misfit, match=r"^streets\.name: missing$"):
        read(Street, {}, under="streets")


def test_the_first_few_wrong_keys_of_a_table_are_named_and_the_table_stays_as_it_is() -> None:
    value = {"name": 1, "first": {"rooms": 0, "sides": [1, "a"], "colour": "blue"}, "more": 1}

    with pytest.raises(Misfit) as refused:
        read_table(Street, value)

    parts = str(refused.value).split("; ")
    assert len(parts) == 3
    assert len(set(parts)) == 3
    assert value == {"name": 1, "first": {"rooms": 0, "sides": [1, "a"], "colour": "blue"}, "more": 1}
    with pytest.raises(Misfit, match=r"^first\.rooms: 13 are refused$"):
        read_table(Street, {"name": "a", "first": {"rooms": 13}})
    with pytest.raises(Misfit, match=r"^name: missing$"):
        read_table(Street, {})
    # What is about the whole is not told of a table from which something was taken out.
    with pytest.raises(Misfit, match=r"^colour: unknown key$"):
        read_table(Gate, {"colour": 1})
    with pytest.raises(Misfit, match=r"^A gate has a width$"):
        read_table(Gate, {})
    assert read_table(Street, {"name": "a", "first": {"sides": [1, 2]}}) == Street(name="a", first=House(sides=(1, 2)))


@pytest.mark.parametrize(
    ("document", "size"),
    [(b"1", (1, 0)), (b"[]", (2, 1)), (b'{"a": [1, 2, {}]}', (6, 3)), (b"[[[]]]x", (4, 3))],
)
def test_a_document_has_no_more_values_than_are_counted(document: bytes, size: JsonSize) -> None:
    assert measure_json(document) == size
    assert measure_json(document + b"[,", len(document)) == size
