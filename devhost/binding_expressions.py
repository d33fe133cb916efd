"""Owns binding expressions: `{name}` in a path or queue name, filled from what the trigger carries."""

import json
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from devhost.errors import ConfigurationError

BindingData = Mapping[str, Any]

_EXPRESSION = re.compile(r"\{([^{}]+)\}")

#: .NET date format letters that occur in binding expressions, longest first.
_DATE_FORMATS = {"yyyy": "%Y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S", "yy": "%y"}


def resolve(template: str, data: BindingData, now: datetime | None = None) -> str:
    """Fill the expressions of a template.

    Names are matched without regard to case; `a.b` reaches into JSON. Besides `data`: {rand-guid}, {DateTime},
    {DateTime:yyyy-MM-dd} and {sys.utcnow}. Raises ConfigurationError for a name that nothing provides.
    """
    moment = now or datetime.now(UTC)

    def value_of(match: re.Match[str]) -> str:
        name, _, date_format = match[1].partition(":")
        if name.lower() == "rand-guid":
            return str(uuid.uuid4())
        if name.lower() in {"datetime", "sys.utcnow"}:
            return _format_date(moment, date_format)
        return _look_up(name, data)

    return _EXPRESSION.sub(value_of, template)


def _format_date(moment: datetime, date_format: str) -> str:
    if not date_format:
        return moment.strftime("%Y-%m-%dT%H-%M-%SZ")
    pattern = "|".join(_DATE_FORMATS)
    return re.sub(pattern, lambda found: moment.strftime(_DATE_FORMATS[found[0]]), date_format)


def _look_up(name: str, data: BindingData) -> str:
    value: Any = data
    for step in name.split("."):
        items = {str(key).lower(): item for key, item in value.items()} if isinstance(value, Mapping) else {}
        if step.lower() not in items:
            raise ConfigurationError(f"No value for named parameter '{name}'.")
        value = items[step.lower()]
    return value if isinstance(value, str) else json.dumps(value)


def json_properties(text: str | bytes) -> dict[str, Any]:
    """Return the properties of a JSON object in a message or request body; none when it is anything else."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):  # the real host passes over whatever its parser says (ApplyBindingData)
        return {}
    return document if isinstance(document, dict) else {}
