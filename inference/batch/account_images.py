"""Owns the reading of images in the app's own storage account, by the app's identity, for batches.

It refuses the host's own containers, and leaves every other url to the guarded fetcher. Requests over HTTP never come
here: a caller's key for scoring is no right to read the account.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from inference.batch.account import Account
from inference.errors import (
    ImageNotFound,
    ImageTooLarge,
    OriginRefused,
    OriginUnavailable,
    StorageUnavailable,
    UrlNotAllowed,
)
from inference.storage import BlobForbidden, BlobNotFound, BlobStore, BlobUnreadable, PreconditionFailed


class Fetches(Protocol):
    """What reads every other url."""

    async def fetch(self, url: str, *, deadline_seconds: float | None = None) -> bytes:
        """Return the bytes at `url`."""


class AccountFetcher:
    """Fetches from the account directly, and from elsewhere by `web`."""

    def __init__(self, web: Fetches, account: Account, max_image_bytes: int) -> None:
        self._web = web
        self._account = account
        self._max_image_bytes = max_image_bytes

    async def fetch(self, url: str, *, deadline_seconds: float | None = None) -> bytes:
        """Return the bytes at `url`; one with a query (a SAS) carries its own right and goes over the web.

        Raises UrlNotAllowed, ImageNotFound, ImageTooLarge, OriginRefused, Unavailable, and what `web` raises.
        """
        if not self._account.owns(url) or "?" in url or "#" in url:
            return await self._web.fetch(url, deadline_seconds=deadline_seconds)
        try:
            container, name = self._account.locate(url)
        except ValueError:
            name = ""
        if not name:
            raise UrlNotAllowed("The url is not one of an image in the app's own storage account.")
        try:
            async with asyncio.timeout(deadline_seconds):
                return await self._read(self._account.container(container), name)
        except TimeoutError:
            # Storage is part of the service: that it does not answer is not charged to the item.
            raise StorageUnavailable("Storage did not hand out the image in time.") from None

    async def _read(self, store: BlobStore, name: str) -> bytes:
        try:
            # One call, which is a transaction paid for each image: a byte more than wanted tells one that is too large.
            data = await store.read_range(name, 0, self._max_image_bytes + 1)
        except BlobForbidden:
            # Other blobs of the account were read a moment ago, for this batch. What a role's condition asks for, the
            # tag of a malware scan, say, may come later; or never, and then the image may not hold up the others.
            raise OriginUnavailable("The service's identity may not read the blob, or not yet.") from None
        except BlobUnreadable as exc:
            raise OriginRefused(f"The blob in the app's own storage account cannot be read: {exc}.") from None
        except BlobNotFound:
            raise ImageNotFound("There is no such blob in the app's own storage account.") from None
        except PreconditionFailed:  # only a large one takes several requests
            raise StorageUnavailable("The blob was written while it was read.") from None
        if len(data) > self._max_image_bytes:
            raise ImageTooLarge(f"The image has more than {self._max_image_bytes} bytes.")
        return data
