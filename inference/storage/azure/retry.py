"""When a call to storage is tried again, and after how long.

It refuses to wait longer than a caller would: what storage cannot do within seconds is reported as unavailable, and the
queue's own redelivery takes over.
"""

from __future__ import annotations

import random
from typing import Any

from azure.core.exceptions import ClientAuthenticationError
from azure.storage.blob.aio import ExponentialRetry

from inference.storage.azure.errors import parse_retry_after

#: Five tries in all, some six seconds apart at most from first to last: the length of a partition's move.
RETRIES = 4
FIRST_BACKOFF_SECONDS = 0.4
#: A longer Retry-After is handed to the caller instead of being waited for.
MAX_RETRY_AFTER_SECONDS = 10.0


class BackoffRetry(ExponentialRetry):
    """Doubling back-off with jitter that honours Retry-After; the SDK's own starts at 15 s and ignores the header.

    What is tried again is the SDK's choice: 408, any 5xx but 501 and 505, and connections that fail or break. A write
    can therefore be applied twice, or be refused with PreconditionFailed because its first try had succeeded. Not tried
    again is a login that failed: it has its own tries.
    """

    def __init__(self) -> None:
        super().__init__(
            retry_total=RETRIES,
            retry_connect=RETRIES,
            retry_read=RETRIES,
            retry_status=RETRIES,
        )

    def increment(self, settings: dict[str, Any], request: Any, response: Any = None, error: Any = None) -> bool:
        """Count the failed try; return whether there will be another."""
        if isinstance(error, ClientAuthenticationError):
            return False
        retry_after = parse_retry_after(response.headers.get("Retry-After")) if response is not None else None
        settings["retry_after"] = retry_after or 0.0
        if settings["retry_after"] > MAX_RETRY_AFTER_SECONDS:
            return False
        return super().increment(settings, request, response, error)

    def get_backoff_time(self, settings: dict[str, Any]) -> float:
        """Return the seconds to wait before the next try."""
        backoff: float = FIRST_BACKOFF_SECONDS * 2 ** (settings["count"] - 1)
        jittered = backoff * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
        return max(jittered, float(settings["retry_after"]))
