"""The exception tree: what can go wrong, its stable code, and whether trying again can help.

It knows nothing of HTTP: statuses are a table in `inference.http.statuses`.

    InferenceError
      + InvalidRequest              the caller's fault: invalid_request
      |   - InvalidManifest · InvalidMessage · PayloadTooLarge · TooManyInputs · UnsupportedMediaType
      + NotFound
      |   - ModelNotFound · ModelVersionNotFound · BatchNotFound · ManifestNotFound
      + BatchConflict
      + ItemRejected                this image or url can never be scored
      |   - InvalidImage · UnsupportedImage · ImageTooLarge · InvalidText · UrlNotAllowed
      + OriginFailed                the server that holds the image did not give it
      |   - ImageNotFound · OriginRefused · OriginBroken
      |   - OriginUnavailable · OriginThrottled · OriginTimeout            (retryable)
      + InferenceFailed             the model's run raised, or broke its output contract
      + WorkerLost                  scoring this item took the worker process down each time
      + BatchCancelled · ErrorThresholdExceeded
      + Unavailable                 ours, and passing                      (retryable)
          - Overloaded · DeadlineExceeded · ModelUnavailable · ShuttingDown
          - StorageUnavailable · StorageForbidden · InsufficientStorage
    SettingsError(ValueError)       start-up only; lists every problem at once
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar


class InferenceError(Exception):
    """Something went wrong that this service knows about."""

    code: ClassVar[str] = "inference_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str | None = None, *, retry_after_seconds: float | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        #: How long the other side asked us to wait, or how long we ask the caller to.
        self.retry_after_seconds = retry_after_seconds
        super().__init__(self.message)

    @classmethod
    def leaves(cls) -> Iterator[type[InferenceError]]:
        """Every class of the tree that can be raised with a code of its own."""
        for subclass in cls.__subclasses__():
            if "code" in vars(subclass):  # the others only say what several have in common, and are never raised
                yield subclass
            yield from subclass.leaves()


class InvalidRequest(InferenceError):
    """The request is not one that this service understands."""

    code = "invalid_request"


class InvalidManifest(InvalidRequest):
    """The manifest cannot be read."""

    code = "invalid_manifest"


class InvalidMessage(InvalidRequest):
    """The queue message is not one of ours."""

    code = "invalid_message"


class PayloadTooLarge(InvalidRequest):
    """The request body, or the reply to it, is larger than this service can hold."""

    code = "payload_too_large"


class TooManyInputs(InvalidRequest):
    """The request has more images or texts than one request may have."""

    code = "too_many_inputs"


class UnsupportedMediaType(InvalidRequest):
    """The request body has a media type that this route does not take."""

    code = "unsupported_media_type"


class NotFound(InferenceError):
    """There is no such thing here."""

    code = "not_found"


class ModelNotFound(NotFound):
    """There is no such model."""

    code = "model_not_found"


class ModelVersionNotFound(NotFound):
    """The model has no such version."""

    code = "model_version_not_found"


class BatchNotFound(NotFound):
    """There is no such batch."""

    code = "batch_not_found"


class ManifestNotFound(NotFound):
    """The manifest that the message points to does not exist."""

    code = "manifest_not_found"


class BatchConflict(InferenceError):
    """A batch with this id exists and has other content."""

    code = "batch_conflict"


class ItemRejected(InferenceError):
    """This image can never be scored."""


class InvalidImage(ItemRejected):
    """The bytes are not a readable image."""

    code = "image_invalid"


class UnsupportedImage(ItemRejected):
    """The image has a format that this service does not read."""

    code = "image_unsupported"


class ImageTooLarge(ItemRejected):
    """The image is larger than the limit."""

    code = "image_too_large"


class InvalidText(ItemRejected):
    """The bytes are not a text, or a longer one than the limit."""

    code = "text_invalid"


class UrlNotAllowed(ItemRejected):
    """The url points to a place that this service may not fetch from."""

    code = "url_not_allowed"


class OriginFailed(InferenceError):
    """The image's origin did not deliver it."""


class ImageNotFound(OriginFailed):
    """The image's origin says that there is no such image."""

    code = "image_not_found"


class OriginRefused(OriginFailed):
    """The image's origin refused the request."""

    code = "origin_refused"


class OriginBroken(OriginFailed):
    """The image's origin answered in a way that cannot be used."""

    code = "origin_broken"


class OriginUnavailable(OriginFailed):
    """The image's origin cannot be reached or failed."""

    code = "origin_unavailable"
    retryable = True


class OriginThrottled(OriginFailed):
    """The image's origin asks for fewer requests."""

    code = "origin_throttled"
    retryable = True


class OriginTimeout(OriginFailed):
    """The image's origin took too long."""

    code = "origin_timeout"
    retryable = True


class InferenceFailed(InferenceError):
    """The model failed on this input."""

    code = "inference_failed"


class WorkerLost(InferenceError):
    """Scoring this image takes the worker process down."""

    code = "worker_lost"


class BatchCancelled(InferenceError):
    """The batch was cancelled before this image was scored."""

    code = "batch_cancelled"


class ErrorThresholdExceeded(InferenceError):
    """More images failed than the batch's error_threshold allows, so the rest were not scored."""

    code = "error_threshold_exceeded"


class Unavailable(InferenceError):
    """The service cannot do this right now."""

    retryable = True


class Overloaded(Unavailable):
    """The service has as much work as it can hold; try again shortly."""

    code = "overloaded"


class DeadlineExceeded(Unavailable):
    """The request took longer than its deadline."""

    code = "deadline_exceeded"


class ModelUnavailable(Unavailable):
    """The model cannot be served right now."""

    code = "model_unavailable"


class ShuttingDown(Unavailable):
    """This worker is shutting down."""

    code = "shutting_down"


class StorageUnavailable(Unavailable):
    """Storage did not answer as it should."""

    code = "storage_unavailable"


class StorageForbidden(Unavailable):
    """Storage refused this service's identity."""

    code = "storage_auth"


class InsufficientStorage(Unavailable):
    """There is no room left on the disk."""

    code = "insufficient_storage"


class SettingsError(ValueError):
    """The settings are wrong; `problems` names each of them."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))
