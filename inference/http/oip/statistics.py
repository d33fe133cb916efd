"""What this process has inferred: counts and durations by model version, in the taxonomy of Triton's statistics.

It refuses to know other processes: each worker of each replica counts for itself, and metrics add them up.
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_statistics.md
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from msgspec import Struct, field


class Durations(Struct, frozen=True):
    """Nanoseconds of one successful request."""

    queue: int
    #: Reading the request and making the run's inputs of it; images are decoded in it.
    compute_input: int
    compute_infer: int
    #: Making the reply.
    compute_output: int


class _Duration(Struct):
    count: int = 0
    ns: int = 0

    def add(self, nanoseconds: int) -> None:
        self.count += 1
        self.ns += nanoseconds

    def describe(self) -> dict[str, int]:
        return {"count": self.count, "ns": self.ns}


type _Totals = defaultdict[str, _Duration]

_OF_A_REQUEST = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
#: There is no cache of replies; clients read the keys all the same.
_OF_THE_CACHE = ("cache_hit", "cache_miss")
_OF_A_BATCH = ("compute_input", "compute_infer", "compute_output")


def _totals() -> _Totals:
    return defaultdict(_Duration)


class _Version(Struct):
    last_inference_ms: int = 0
    inference_count: int = 0
    totals: _Totals = field(default_factory=_totals)
    #: By batch size.
    batches: dict[int, _Totals] = field(default_factory=dict)


class Statistics:
    """Counts requests. It lives on one event loop."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._versions: dict[tuple[str, str], _Version] = {}

    def succeed(self, model: str, version: str, batch_size: int, seconds: float, durations: Durations) -> None:
        """Count a request that was answered; `batch_size` is the number of items in it."""
        entry = self._entry(model, version)
        entry.inference_count += batch_size
        entry.totals["success"].add(_nanoseconds(seconds))
        entry.totals["queue"].add(durations.queue)
        for totals in (entry.totals, entry.batches.setdefault(batch_size, _totals())):
            for name in _OF_A_BATCH:
                totals[name].add(getattr(durations, name))

    def fail(self, model: str, version: str, seconds: float) -> None:
        """Count a request that ended in an error, or whose caller left."""
        self._entry(model, version).totals["fail"].add(_nanoseconds(seconds))

    def describe(self, model: str, version: str) -> dict[str, Any]:
        """Return one entry of `model_stats`: all zero for a version that no one has asked for."""
        entry = self._versions.get((model, version), _Version())
        return {
            "name": model,
            "version": version,
            "last_inference": entry.last_inference_ms,
            "inference_count": entry.inference_count,
            "execution_count": entry.totals["compute_infer"].count,
            "inference_stats": {name: entry.totals[name].describe() for name in (*_OF_A_REQUEST, *_OF_THE_CACHE)},
            "batch_stats": [
                {"batch_size": size, **{name: totals[name].describe() for name in _OF_A_BATCH}}
                for size, totals in sorted(entry.batches.items())
            ],
        }

    def _entry(self, model: str, version: str) -> _Version:
        entry = self._versions.setdefault((model, version), _Version())
        entry.last_inference_ms = round(self._clock() * 1000)
        return entry


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
