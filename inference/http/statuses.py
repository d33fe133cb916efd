"""The HTTP status of each error: one table, resolved along the class's ancestors.

The API's description reads the same table, so that the two cannot drift apart.
"""

from __future__ import annotations

from typing import Final

from inference import errors

STATUSES: Final[dict[type[errors.InferenceError], int]] = {
    errors.InvalidRequest: 400,
    errors.PayloadTooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.TooManyInputs: 422,
    errors.NotFound: 404,
    errors.BatchConflict: 409,
    errors.ItemRejected: 422,
    errors.OriginFailed: 424,
    # The model broke on this input: not the caller's fault, not ours to count as a bug; the model cannot serve it.
    errors.InferenceFailed: 503,
    # The next three end rows of a batch; no request meets them, but every error has a status.
    errors.WorkerLost: 503,
    errors.BatchCancelled: 409,
    errors.ErrorThresholdExceeded: 409,
    errors.Unavailable: 503,
    errors.Overloaded: 429,
    errors.DeadlineExceeded: 504,
}


def status_of(error: type[errors.InferenceError]) -> int:
    """Return the status of the nearest ancestor in the table."""
    return next(STATUSES[ancestor] for ancestor in error.__mro__ if ancestor in STATUSES)
