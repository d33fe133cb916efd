"""Owns the verdict on a failed attempt: final, or again and when. It refuses to act: it returns data."""

from __future__ import annotations

from msgspec import Struct

from inference.errors import DeadlineExceeded, InferenceError, Unavailable
from inference.settings import BatchSettings

#: Code of a row that failed by a defect of this service.
INTERNAL_ERROR = "internal_error"


class RowError(Struct, frozen=True):
    """Why an item failed, as its row says it."""

    code: str
    message: str
    retryable: bool


class Final(Struct, frozen=True):
    """The item has failed."""

    error: RowError


class Again(Struct, frozen=True):
    """The item is tried again, `wait_seconds` from now at the earliest."""

    error: RowError
    wait_seconds: float
    #: Whether this attempt counts; one that failed by a fault of ours does not.
    is_charged: bool


class RetryPolicy(Struct, frozen=True):
    """How often and how slowly items are tried."""

    max_attempts: int
    base_seconds: float
    cap_seconds: float

    @classmethod
    def of(cls, settings: BatchSettings, max_attempts: int) -> RetryPolicy:
        """Return the policy of one batch."""
        return cls(max_attempts, settings.retry_base_seconds, settings.retry_cap_seconds)

    def backoff(self, failures: int, jitter: float) -> float:
        """Return the wait after so many failures in a row: exponential, capped, full jitter (`jitter` in [0, 1))."""
        doublings = min(max(failures - 1, 0), 62)
        return jitter * min(self.cap_seconds, self.base_seconds * 2.0**doublings)


def decide(error: Exception, tries: int, stalls: int, policy: RetryPolicy, jitter: float) -> Final | Again:
    """Judge an attempt that failed; `tries` counts this round's attempts with this one, `stalls` our own failures.

    - what cannot get better ends at once;
    - what is ours (storage, the model, no room, shutting down) is tried again for ever and never charged;
    - the rest is tried again until `max_attempts`. That a deadline passed is charged, or an image that never ends
      would be tried for ever; an unknown exception is a defect of ours, but may be one that this image provokes.
    """
    why = describe(error)
    if not why.retryable:
        return Final(why)
    if is_ours(error):
        return Again(why, _wait(error, policy, policy.backoff(stalls + 1, jitter)), is_charged=False)
    if tries >= policy.max_attempts:
        return Final(why)
    return Again(why, _wait(error, policy, policy.backoff(tries, jitter)), is_charged=True)


def is_ours(error: Exception | None) -> bool:
    """Tell whether the service, not the item, is the cause."""
    return isinstance(error, Unavailable) and not isinstance(error, DeadlineExceeded)


def describe(error: Exception) -> RowError:
    """Return what a row says of an error; of an unknown one only its class, since its text may hold a secret."""
    if isinstance(error, InferenceError):
        return RowError(error.code, error.message, error.retryable)
    return RowError(INTERNAL_ERROR, f"A defect of this service ({type(error).__name__}).", retryable=True)


def _wait(error: Exception, policy: RetryPolicy, backoff: float) -> float:
    asked = error.retry_after_seconds if isinstance(error, InferenceError) else None
    return max(backoff, min(asked or 0.0, policy.cap_seconds))
