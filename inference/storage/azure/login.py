"""The identity that storage is asked with, whose failures are its own and no answer of storage.

It refuses to pass on the status of whoever gives out tokens: their 404 is not the word of storage on a blob.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from azure.core.credentials import AccessToken, AccessTokenInfo
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError

if TYPE_CHECKING:
    from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential

#: For all tries of azure-identity together: by itself it waits 20 minutes for an endpoint that never answers. On a
#: developer's machine it asks three programs in turn, for 10 s each.
TOKEN_TIMEOUT_SECONDS = 60.0
#: How long a failure counts for others: the SDK lets one call at a time ask for a token, and those who waited for it
#: would each wait as long again.
FAILURE_SECONDS = 1.0


class Login(AsyncTokenCredential):
    """A credential that fails in one way, and in time: a token is had, or ClientAuthenticationError raised."""

    def __init__(self, credential: DefaultAzureCredential | ManagedIdentityCredential) -> None:
        self._credential = credential
        self._failed_at = -math.inf

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Return a token."""
        async with self._attempt():
            return await self._credential.get_token(*scopes, **options)

    async def get_token_info(self, *scopes: str, **options: Any) -> AccessTokenInfo:
        """Return a token and when to ask for the next."""
        async with self._attempt():
            return await self._credential.get_token_info(*scopes, **options)

    async def close(self) -> None:
        """Close the connections."""
        await self._credential.close()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @asynccontextmanager
    async def _attempt(self) -> AsyncIterator[None]:
        now = asyncio.get_running_loop().time
        if now() - self._failed_at < FAILURE_SECONDS:
            raise ClientAuthenticationError("no token a moment ago")
        try:
            async with asyncio.timeout(TOKEN_TIMEOUT_SECONDS):
                yield
        except (AzureError, TimeoutError) as exc:  # without its reply: the status in it is not one of storage
            self._failed_at = now()
            raise ClientAuthenticationError(f"no token ({type(exc).__name__})") from exc
