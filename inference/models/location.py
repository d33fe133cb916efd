"""Where a model repository is, as `INFERENCE_MODEL_REPOSITORY` and `onnxfn model` name it: a folder or a container.

It refuses to connect, and urls that carry a secret: access is the identity's or the connection string's business.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from inference.storage import InvalidBlobName, check_blob_name


class ContainerLocation(Struct, frozen=True):
    """A container of an account, and where in it the repository begins."""

    #: The account's blob endpoint, without the slash that follows.
    endpoint: str
    container: str
    #: Empty, or ends in a slash.
    prefix: str = ""


def is_url(repository: str) -> bool:
    """Tell whether a repository is named by a url; everything else is a folder."""
    return "://" in repository


def parse_container_url(url: str) -> ContainerLocation:
    """Split `https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX]`, or Azurite's form with the account in the path.

    Raises ValueError with a sentence that does not quote the url, which might hold a secret.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("it is not like https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX].")
    if parts.query or parts.fragment:
        raise ValueError(
            "it has a query; shared access signatures are not used, but an identity or AzureWebJobsStorage."
        )
    segments = [unquote(segment) for segment in parts.path.strip("/").split("/") if segment]
    origin = f"{parts.scheme}://{parts.netloc.lower()}"
    if _is_emulator(parts.hostname) and segments:
        origin, segments = f"{origin}/{segments[0]}", segments[1:]
    if not segments:
        raise ValueError("it names no container.")
    prefix = "".join(f"{segment}/" for segment in segments[1:])
    try:
        check_blob_name(prefix or "x")
    except InvalidBlobName as exc:
        raise ValueError("no blob can lie below it.") from exc
    return ContainerLocation(origin, segments[0], prefix)


def _is_emulator(host: str) -> bool:
    """Emulators have the account as the path's first segment, as they have no names of their own: an address, one word.

    Source: learn.microsoft.com/azure/storage/common/storage-use-azurite, "IP-style" urls.
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "." not in host
    return True
