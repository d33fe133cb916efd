"""Owns the sum of what a batch takes on Container Apps: time to drain it and its cost, by the most replicas allowed.

    python -m benchmarks.capacity [--images N] [--images-per-second R] [--replicas 1 10 100] …

It steps through a batch second by second under the platform's scale rules. It refuses to know prices and the speed of
your images: both are inputs, whose defaults are examples (docs/how-to/plan-capacity.md says where each comes from).
"""

from __future__ import annotations

import argparse
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Service:
    """What one replica does: measured (docs/reference/batch-performance.md), or yours."""

    #: A replica's images a second with every core of it busy; MobileNetV2 on photos, one core.
    images_per_second: float = 50.0
    #: Seconds that one image takes to fetch, and fetches that one replica has under way at once (one origin).
    fetch_seconds: float = 0.05
    fetches: int = 8
    #: Images in one shard.
    shard_size: int = 100
    #: The manifest's way to shards, and the messages that then go out, by one replica.
    lines_per_second: float = 100_000.0
    messages_per_second: float = 500.0
    #: The end of a batch, by one replica: parts that become results.
    parts_per_second: float = 300.0
    #: Storage calls of 1,000 images: writes and listings, reads, queue operations.
    writes: float = 27.0
    reads: float = 32.0
    queue_calls: float = 30.0
    #: Polls of the six queues, a replica.
    polls_per_second: float = 4.0

    @property
    def rate(self) -> float:
        """Images a second of one replica: its cores' or its fetches', whichever is less."""
        return min(self.images_per_second, self.fetches / self.fetch_seconds)


@dataclass(frozen=True, slots=True)
class Platform:
    """How Container Apps scales: learn.microsoft.com/azure/container-apps/scale-app and KEDA's azure-queue scaler."""

    #: Replicas kept when idle.
    min_replicas: int = 0
    #: From none to one.
    polling_seconds: int = 30
    #: Between two decisions from one replica on.
    decision_seconds: int = 15
    #: Replicas added by one decision: so many, or as many again as there are, whichever is more.
    step: int = 4
    #: Messages a replica (`batchSize` of host.json).
    queue_length: int = 2
    #: The most replicas wanted in this time are kept.
    stabilization_seconds: int = 300
    #: From the last message to none.
    cooldown_seconds: int = 300
    #: From the decision to a replica that scores: image pull, host, worker, model.
    cold_start_seconds: int = 30
    cpu: float = 1.0
    memory_gib: float = 2.0


@dataclass(frozen=True, slots=True)
class Prices:
    """EXAMPLES in US dollars: look yours up, at the addresses that the page names."""

    vcpu_second: float = 0.000024
    gib_second: float = 0.000003
    #: Of 10,000 operations each.
    storage_writes: float = 0.05
    storage_reads: float = 0.004
    queue_calls: float = 0.004


@dataclass(frozen=True, slots=True)
class Plan:
    """What one batch takes under a limit of replicas."""

    max_replicas: int
    #: From the message to complete results.
    drain_seconds: int
    #: Until the replicas are gone again.
    replica_seconds: int
    #: Most images scored in one second, and storage calls made in it.
    peak_rate: float
    peak_calls: float
    compute: float
    storage: float

    @property
    def cost(self) -> float:
        """Compute and storage."""
        return self.compute + self.storage


class Fleet:
    """The replicas of an app, of which some are still starting."""

    def __init__(self, platform: Platform, max_replicas: int) -> None:
        self._platform = platform
        self._max = max_replicas
        self._starts: list[int] = [-platform.cold_start_seconds] * platform.min_replicas
        self._wanted: deque[tuple[int, int]] = deque()
        self._active_at = 0

    def __len__(self) -> int:
        return len(self._starts)

    def ready(self, second: int) -> int:
        """Return how many can score."""
        return sum(start + self._platform.cold_start_seconds <= second for start in self._starts)

    def decide(self, second: int, messages: int) -> None:
        """Scale as the platform would at this second."""
        platform, now = self._platform, len(self._starts)
        self._active_at = second if messages else self._active_at
        if not now:
            if messages and second % platform.polling_seconds == 0 and second:
                self._starts.append(second)
            return
        if second % platform.decision_seconds:
            return
        self._wanted.append((second, math.ceil(messages / platform.queue_length)))
        while self._wanted[0][0] < second - platform.stabilization_seconds:
            self._wanted.popleft()
        wanted = max(min(self._wanted[-1][1], self._max), platform.min_replicas, 1)
        if wanted > now:
            wanted = min(wanted, max(now + platform.step, 2 * now))
            self._starts += [second] * (wanted - now)
        else:
            kept = max(min(most, self._max) for _, most in self._wanted)
            del self._starts[max(kept, wanted) :]
        if second - self._active_at >= platform.cooldown_seconds:
            del self._starts[platform.min_replicas :]


@dataclass(slots=True)
class Progress:
    """How far a batch is, second by second."""

    second: int = 0
    scored: float = 0.0
    #: Seconds with a replica to expand the manifest and to send its messages; then parts that became results.
    worked: int = 0
    finished: float = 0.0
    drained_at: int | None = None
    replica_seconds: int = 0
    ready_seconds: int = 0
    peak_rate: float = 0.0
    peak_ready: int = 0


def plan_batch(images: int, max_replicas: int, service: Service, platform: Platform, prices: Prices) -> Plan:
    """Step through one batch on an idle app; `min_replicas` are paid only while the batch is there."""
    fleet, progress = Fleet(platform, max_replicas), Progress()
    while progress.drained_at is None or len(fleet) > platform.min_replicas:
        _step(progress, images, fleet, service)
    return _price(images, max_replicas, progress, service, platform, prices)


def _step(progress: Progress, images: int, fleet: Fleet, service: Service) -> None:
    """Let one second pass."""
    shards = math.ceil(images / service.shard_size)
    sending = max(0.0, progress.worked - images / service.lines_per_second)
    sent = min(shards, sending * service.messages_per_second)
    is_done = progress.finished >= shards
    # The manifest's message, then the finisher's, are on their queues until each is dealt with.
    left = 0 if is_done else max(1, math.ceil(sent - progress.scored / service.shard_size))
    fleet.decide(progress.second, left)
    ready = fleet.ready(progress.second)
    before = progress.scored
    progress.scored = min(before + ready * service.rate, sent * service.shard_size, images)
    progress.worked += 1 if ready else 0
    progress.finished += service.parts_per_second if progress.scored >= images else 0
    if is_done and progress.drained_at is None:
        progress.drained_at = progress.second
    progress.peak_rate = max(progress.peak_rate, progress.scored - before)
    progress.peak_ready = max(progress.peak_ready, ready)
    progress.replica_seconds += len(fleet)
    progress.ready_seconds += ready
    progress.second += 1


def _price(
    images: int, max_replicas: int, progress: Progress, service: Service, platform: Platform, prices: Prices
) -> Plan:
    thousands = images / 1000
    queue_calls = thousands * service.queue_calls + progress.ready_seconds * service.polls_per_second
    blob_price = service.writes * prices.storage_writes + service.reads * prices.storage_reads
    a_second = platform.cpu * prices.vcpu_second + platform.memory_gib * prices.gib_second
    calls = progress.peak_rate / 1000 * (service.writes + service.reads + service.queue_calls)
    return Plan(
        max_replicas=max_replicas,
        drain_seconds=progress.drained_at or 0,
        replica_seconds=progress.replica_seconds,
        peak_rate=progress.peak_rate,
        peak_calls=calls + progress.peak_ready * service.polls_per_second,
        compute=progress.replica_seconds * a_second,
        storage=(thousands * blob_price + queue_calls * prices.queue_calls) / 10_000,
    )


def tabulate(images: int, plans: Sequence[Plan]) -> str:
    """Return the plans as a table in Markdown."""
    million = 1_000_000 / images
    header = [
        "| replicas at most | images a second | drain | replica hours | storage calls a second | cost of a million |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    rows = [
        f"| {plan.max_replicas} | {plan.peak_rate:,.0f} | {_duration(plan.drain_seconds)} "
        f"| {plan.replica_seconds / 3600:.1f} | {plan.peak_calls:,.0f} | {plan.cost * million:.2f} |"
        for plan in plans
    ]
    return "\n".join([*header, *rows])


def _duration(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table for what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 3, 10, 30, 100, 300])
    groups = (Service, Platform, Prices)
    for group in groups:
        for field in fields(group):
            default = field.default
            name = (
                f"--{field.name.replace('_', '-')}"
                if group is not Prices
                else f"--price-{field.name.replace('_', '-')}"
            )
            parser.add_argument(name, type=type(default), default=default, metavar=str(default))
    options = vars(parser.parse_args(arguments))
    service = Service(**{field.name: options[field.name] for field in fields(Service)})
    platform = Platform(**{field.name: options[field.name] for field in fields(Platform)})
    prices = Prices(**{field.name: options[f"price_{field.name}"] for field in fields(Prices)})
    plans = [plan_batch(options["images"], most, service, platform, prices) for most in options["replicas"]]
    print(tabulate(options["images"], plans))


if __name__ == "__main__":
    main()
