"""Owns what the batch path asks of the rest of the product, as protocols as small as used; it refuses to build any."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from inference.batch.layout import QueueName
from inference.storage import BlobStore, HidingQueue, MessageQueue

if TYPE_CHECKING:
    from inference.fetch.poster import Answer


class Delivery(Struct, frozen=True):
    """One receipt of a queue message, as the host hands it over."""

    body: bytes
    message_id: str
    dequeue_count: int = 1
    #: It comes from the poison queue: the host made it, perhaps twice, of another message.
    is_recovered: bool = False

    @property
    def is_redelivery(self) -> bool:
        """Whether an earlier delivery failed or was lost with its worker."""
        return self.dequeue_count > 1


class ModelPin(Struct, frozen=True):
    """The model version that a whole batch is scored with."""

    name: str
    version: str
    sha256: str


class Scorer(Protocol):
    """Scores one image at a url."""

    async def resolve(self, model: str | None, parameters: Mapping[str, Any]) -> ModelPin:
        """Return what `NAME[:VERSION]`, or the default model for None, is at this moment, and check its parameters.

        Raises InvalidManifest, ModelNotFound, ModelVersionNotFound, ModelUnavailable.
        """

    async def score(
        self, url: str, pin: ModelPin, parameters: Mapping[str, Any], deadline_seconds: float
    ) -> list[Mapping[str, Any]]:
        """Return the predictions of exactly that model version. Raises InferenceError."""


class Poster(Protocol):
    """Posts to urls that the operator allows."""

    def check(self, url: str) -> None:
        """Raise UrlNotAllowed where `post` would without asking anyone."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post once, and return how it was answered. Raises UrlNotAllowed, OriginFailed, ShuttingDown."""


class Draining(Protocol):
    """Set when this worker must give its work back (`asyncio.Event` is one)."""

    def is_set(self) -> bool:
        """Tell whether the worker is shutting down."""

    async def wait(self) -> object:
        """Return once it is."""


#: The time of day, for people to read; correctness never depends on it.
Clock = Callable[[], datetime]

#: A random number in [0, 1).
Random = Callable[[], float]


class Stores(Struct, frozen=True):
    """The containers of the batch path."""

    manifests: BlobStore
    results: BlobStore
    deadletters: BlobStore


class Queues(Struct, frozen=True):
    """The queues that the batch path sends to."""

    manifests: MessageQueue
    shards: MessageQueue
    finish: HidingQueue
    events: MessageQueue

    def work(self, name: str) -> MessageQueue:
        """Return the queue of that name among those that functions are triggered by."""
        by_name = {QueueName.MANIFESTS: self.manifests, QueueName.SHARDS: self.shards, QueueName.FINISH: self.finish}
        return by_name[QueueName(name)]
