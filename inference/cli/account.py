"""What `--storage` says: a connection string, or the name of an account that your Azure login reaches.

It refuses to connect.
"""

from __future__ import annotations

from inference.settings import StorageSettings


def parse_storage(storage: str) -> StorageSettings:
    """Return how to reach the account: `=` stands in every connection string, and in no account's name."""
    if "=" in storage:
        return StorageSettings(connection_string=storage)
    return StorageSettings(account_name=storage)
