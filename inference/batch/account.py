"""Owns what a url in the app's own storage account names; it refuses what is no user's there."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote

from msgspec import Struct

from inference.storage import BlobStore

#: 3 to 63 letters and digits, with single hyphens between them. Source: "Naming and Referencing Containers, Blobs, and
#: Metadata" of the Storage services REST API.
_CONTAINER: Final = re.compile(r"(?=.{3,63}\Z)[a-z0-9]+(?:-[a-z0-9]+)*")
_HOST_CONTAINERS: Final = "azure-webjobs-"


class Account(Struct, frozen=True):
    """The app's own storage account, which manifests may point into by url."""

    #: `https://ACCOUNT.blob.core.windows.net`, or Azurite's `http://127.0.0.1:10000/devstoreaccount1`.
    blob_url: str
    container: Callable[[str], BlobStore]

    def owns(self, url: str) -> bool:
        """Tell whether `url` is one of this account's."""
        return url.startswith(f"{self.blob_url}/")

    def locate(self, url: str) -> tuple[str, str]:
        """Return the container and the decoded path that one of the account's urls names; the path may be empty.

        Raises ValueError for a query, and for what is no container of a user's: those of the Functions host (its keys
        are among them) and of the service ($logs, $web), and names such as `.`, which a client would take for a step.
        """
        container, _, path = url.removeprefix(f"{self.blob_url}/").partition("/")
        if not _CONTAINER.fullmatch(container) or container.startswith(_HOST_CONTAINERS):
            raise ValueError("not a container of a user's")
        if "?" in path or "#" in path:
            raise ValueError("a query or a fragment")
        return container, unquote(path)
