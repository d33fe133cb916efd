"""Binding expressions in paths and queue names."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from devhost.binding_expressions import json_properties, resolve
from devhost.errors import ConfigurationError

NOW = datetime(2026, 11, 21, 1, 2, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("template", "resolved"),
    [
        ("plain", "plain"),
        ("out/{id}.json", "out/5.json"),
        ("out/{ID}.json", "out/5.json"),
        ("{query.page}", "2"),
        ("{nested.deep.name}", "x"),
        ("{count}", "3"),
        ("{DateTime}", "2026-11-21T01-02-03Z"),
        ("{datetime:yyyy/MM/dd}-{DateTime:HHmmss}", "2026/11/21-010203"),
    ],
)
def test_an_expression_is_filled_from_the_triggers_data(template: str, resolved: str) -> None:
    data = {"id": "5", "query": {"page": "2"}, "nested": {"deep": {"name": "x"}}, "count": 3}

    assert resolve(template, data, NOW) == resolved


def test_rand_guid_is_new_each_time() -> None:
    first, second = (UUID(resolve("{rand-guid}", {})) for _ in range(2))

    assert first != second


def test_a_name_that_nothing_provides_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="No value for named parameter 'id'"):
        resolve("{id}", {})


@pytest.mark.parametrize(
    ("text", "properties"), [('{"a": 1}', {"a": 1}), ("[1]", {}), ("not json", {}), (b"\xff", {}), ("", {})]
)
def test_only_a_json_object_has_properties(text: str | bytes, properties: dict[str, int]) -> None:
    assert json_properties(text) == properties
