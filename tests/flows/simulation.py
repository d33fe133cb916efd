"""A Functions host over the in-memory storage: it delivers, releases, poisons and, when a process dies, restarts.

It follows the queue trigger step by step (lease of ten minutes, five deliveries, a poison copy of the body alone) and
moves the clock to the next visible message, so that back-off takes no time.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from msgspec.structs import replace

from inference.batch import layout
from inference.batch.account import Account
from inference.batch.layout import ContainerName, QueueName
from inference.batch.ports import Delivery, ModelPin, Queues, Stores
from inference.batch.service import BatchService
from inference.errors import InferenceError, ModelNotFound, StorageUnavailable, UrlNotAllowed
from inference.fetch.poster import Answer
from inference.settings import BatchSettings, CallbackSettings
from tests.fakes import Call, Crash, FakeQueue, FakeStorage, ReceivedMessage

MAX_DEQUEUE_COUNT = 5
_MAX_DELIVERIES = 5000
ACCOUNT_URL = "https://account.blob.core.windows.net"
SETTINGS = BatchSettings(shard_size=3, shard_concurrency=2, max_attempts=3)

#: What an attempt does: an exception to raise, or None to succeed.
type Behaviour = Exception | None
type Script = Mapping[str, Sequence[Behaviour]]


class ScriptedScorer:
    """Scores by a script: for each url what its first, second, … attempt does; beyond the script it succeeds.

    `killers` take the process down. A prediction is a function of the url, so that results can be compared.
    """

    def __init__(self, script: Script | None = None, killers: Iterable[str] = ()) -> None:
        self.script: dict[str, list[Behaviour]] = {url: list(behaviours) for url, behaviours in (script or {}).items()}
        self.killers = set(killers)
        self.models: dict[str, ModelPin] = {"digits": ModelPin("digits", "1", "ab" * 32)}
        self.attempts: Counter[str] = Counter()
        self.pins: set[ModelPin] = set()
        self.before: Callable[[str], None] = lambda _url: None
        self.before_async: Callable[[str], Awaitable[None]] = _let_others_run
        self.kill: Callable[[], None] = lambda: None

    async def resolve(self, model: str | None, parameters: Mapping[str, Any]) -> ModelPin:
        """Return the pin of a model that the test declared."""
        if (name := model or "digits") not in self.models:
            raise ModelNotFound
        return self.models[name]

    async def score(
        self, url: str, pin: ModelPin, parameters: Mapping[str, Any], deadline_seconds: float
    ) -> list[Mapping[str, Any]]:
        """Follow the script."""
        self.attempts[url] += 1
        self.pins.add(pin)
        self.before(url)
        await self.before_async(url)
        if url in self.killers:
            self.kill()
            raise Crash(url)
        behaviours = self.script.get(url)
        behaviour = behaviours.pop(0) if behaviours else None
        if behaviour is not None:
            raise behaviour
        return [{"label": url.rsplit("/", 1)[-1].partition("?")[0], "score": 0.5}]


@dataclass(frozen=True)
class Post:
    """One POST that reached the receiver of callbacks."""

    url: str
    body: bytes
    headers: Mapping[str, str]
    #: What was on `batch-events` by then.
    events: Sequence[bytes]


class ScriptedReceiver:
    """Takes callbacks below `allowed`, by a script: what each post is answered with; beyond the script it is a 200.

    Each post and each answer is a call to the storage's hooks, so that a process can die on either side of it.
    """

    def __init__(self, *script: int | Answer | InferenceError, allowed: str = "https://hooks.example/") -> None:
        self.script = list(script)
        self.allowed = allowed
        self.posts: list[Post] = []
        self.storage = FakeStorage()

    def check(self, url: str) -> None:
        """Refuse what is not below `allowed`."""
        if not url.startswith(self.allowed):
            raise UrlNotAllowed("The url is not below what is allowed.")

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Take a post and follow the script."""
        self.check(url)
        call = await self.storage.enter("callback.post", "receiver")
        self.posts.append(Post(url, body, dict(headers), self.storage.queue(QueueName.EVENTS).bodies))
        self.storage.after_call(call)
        answer = self.script.pop(0) if self.script else 200
        if isinstance(answer, InferenceError):
            raise answer
        return Answer(answer) if isinstance(answer, int) else answer


async def _let_others_run(url: str) -> None:
    await asyncio.sleep(0)


@dataclass
class Simulation:
    """One storage account, one app."""

    scorer: ScriptedScorer = field(default_factory=ScriptedScorer)
    settings: BatchSettings = SETTINGS
    storage: FakeStorage = field(default_factory=FakeStorage)
    draw: Callable[[], float] = lambda: 0.5
    monotonic: Callable[[], float] = time.monotonic
    receiver: ScriptedReceiver = field(default_factory=ScriptedReceiver)
    callbacks: CallbackSettings = field(default_factory=CallbackSettings)

    def __post_init__(self) -> None:
        self.crashes = 0
        #: Batches that only the last net saved: lost messages are sent again after long silence.
        self.rescues = 0
        self.deliveries: Counter[str] = Counter()
        self.draining = asyncio.Event()
        self.receiver.storage = self.storage
        self.scorer.kill = lambda: self.storage.crash_before(0)
        self.start()

    def start(self) -> None:
        """Start a process: nothing of the last one's memory is left."""
        containers = {name.value: self.storage.blobs(name) for name in ContainerName}
        queues = {name.name.lower(): self.storage.queue(name) for name in QueueName}
        self.service = BatchService(
            Stores(**containers),
            Queues(**queues),
            self.scorer,
            self.settings,
            account=Account(ACCOUNT_URL, self.storage.blobs),
            poster=self.receiver,
            callbacks=self.callbacks,
            draining=self.draining,
            clock=self.storage.clock.now,
            random=self.draw,
            monotonic=self.monotonic,
        )

    def queue(self, name: str) -> FakeQueue:
        """Return a queue."""
        return self.storage.queue(name)

    def drop(self, manifest: Mapping[str, Any] | bytes) -> None:
        """Drop a manifest on the queue, as any Storage client does."""
        body = manifest if isinstance(manifest, bytes) else orjson.dumps(manifest)
        self.queue(QueueName.MANIFESTS).put(body)

    async def run(self, manifest: Mapping[str, Any] | bytes) -> None:
        """Drop a manifest and work until nothing is left to do."""
        self.drop(manifest)
        await self.drain()

    async def drain(self) -> None:
        """Work until every queue is empty, however long that takes on the clock."""
        for _ in range(_MAX_DELIVERIES):
            if not await self.step():
                return
        raise AssertionError(f"the queues do not drain: {self.deliveries}")

    async def step(self) -> bool:
        """Deliver one message, moving the clock if none is visible; False when there is none at all."""
        names = [*layout.WORK_QUEUES, *map(layout.poison, layout.WORK_QUEUES)]
        times = [at for name in names if (at := self.queue(name).next_visible_at)]
        if not times:
            return False
        self.storage.clock.advance(max(0.0, (min(times) - self.storage.clock.now()).total_seconds()))
        for name in names:
            if received := self.queue(name).receive():
                await self.deliver(name, received)
                return True
        raise AssertionError("a visible message cannot be received")

    async def deliver(self, name: str, received: ReceivedMessage) -> None:
        """Do with a received message what the host does."""
        queue = self.queue(name)
        self.deliveries[name] += 1
        can_poison = not name.endswith("-poison")
        if can_poison and received.dequeue_count > MAX_DEQUEUE_COUNT:
            queue.move_to_poison(received)
            return
        has_shards, calls = bool(self.queue(QueueName.SHARDS).bodies), len(self.storage.calls)
        try:
            await self.service.deliveries[name](Delivery(received.body, received.id, received.dequeue_count))
            if not has_shards and any(call.method == "queue.approximate_count" for call in self.storage.calls[calls:]):
                self.rescues += 1
        except Crash:
            self.restart()
        except Exception:
            if not can_poison:
                return  # the lease runs out
            if received.dequeue_count >= MAX_DEQUEUE_COUNT:
                queue.move_to_poison(received)
            else:
                queue.release(received)
        else:
            queue.delete(received)

    def restart(self) -> None:
        """The process died; another one starts. Messages that it held wait for their lease."""
        self.crashes += 1
        self.storage.restart()
        self.start()

    def blob(self, container: str, name: str) -> bytes | None:
        """Return a blob's bytes, or None."""
        return self.storage.blobs(container).contents.get(name)

    def rows(self, batch_id: str) -> list[dict[str, Any]]:
        """Return the rows of `results.jsonl`."""
        data = self.blob("results", layout.results(batch_id))
        assert data is not None, "no results"
        return [orjson.loads(line) for line in data.splitlines()]

    def summary(self, batch_id: str) -> dict[str, Any]:
        """Return `summary.json`."""
        data = self.blob("results", layout.summary(batch_id))
        assert data is not None, "no summary"
        summary: dict[str, Any] = orjson.loads(data)
        return summary

    def letters(self, prefix: str = "") -> list[dict[str, Any]]:
        """Return the dead letters whose blob's name begins with `prefix`."""
        contents = self.storage.blobs("deadletters").contents
        found = [data for name, data in contents.items() if name.startswith(prefix)]
        return [orjson.loads(line) for data in found for line in data.splitlines()]

    def buried(self) -> list[dict[str, Any]]:
        """Return the dead letters of messages."""
        return self.letters(layout.BURIED_MESSAGES)

    def events(self) -> list[dict[str, Any]]:
        """Return what was sent to `batch-events`."""
        return [orjson.loads(body) for body in self.queue(QueueName.EVENTS).bodies]


def images(count: int, *, secret: bool = False) -> list[str]:
    """Return urls of so many images."""
    query = "?sig=canary-secret" if secret else ""
    return [f"https://images.example/{index}.jpg{query}" for index in range(count)]


def manifest(batch_id: str, urls: Iterable[str | dict[str, str]], **more: Any) -> dict[str, Any]:
    """Return an inline manifest."""
    return {"batch_id": batch_id, "images": list(urls), **more}


def with_settings(**changes: Any) -> BatchSettings:
    """Return the simulation's settings with changes."""
    return replace(SETTINGS, **changes)


def break_calls(sim: Simulation, method: str, part_of_name: str, times: int) -> None:
    """Let storage fail so many times at calls of a method whose store and name hold a text."""
    left = iter(range(times))

    def fail(call: Call) -> None:
        is_meant = call.method == method and part_of_name in f"{call.store}/{call.name}"
        if is_meant and next(left, None) is not None:
            raise StorageUnavailable

    sim.storage.before_call = fail
