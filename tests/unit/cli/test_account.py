import pytest

from inference.cli.account import parse_storage
from inference.settings import StorageSettings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("UseDevelopmentStorage=true", StorageSettings(connection_string="UseDevelopmentStorage=true")),
        ("AccountName=a;AccountKey=Zm9v", StorageSettings(connection_string="AccountName=a;AccountKey=Zm9v")),
        ("photos2026", StorageSettings(account_name="photos2026")),
        ("", StorageSettings()),
    ],
)
def test_an_account_is_meant_by_connection_string_or_by_name(text: str, expected: StorageSettings) -> None:
    assert parse_storage(text) == expected
