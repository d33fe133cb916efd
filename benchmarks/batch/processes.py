"""Owns the measuring of processes: CPU seconds and resident memory of each kind, and what of the machine is others'.

It refuses to start or to end any.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

import psutil

MIB = 1024 * 1024
_SAMPLE_SECONDS = 1.0


class Machine:
    """What the whole machine's cores did since this was made."""

    def __init__(self) -> None:
        self._begun = psutil.cpu_times()

    def others_share(self, own_cpu_seconds: float) -> float:
        """Return the share of all cores that processes beside our own took."""
        now = psutil.cpu_times()
        spent = [after - before for before, after in zip(self._begun, now, strict=True)]
        idle = now.idle - self._begun.idle + now.iowait - self._begun.iowait
        return max(0.0, sum(spent) - idle - own_cpu_seconds) / sum(spent)


class Sampler:
    """Watches named processes while it is open: `with Sampler(lambda: {"worker": [pid]}) as sampler`."""

    def __init__(self, processes: Callable[[], Mapping[str, list[int]]]) -> None:
        self._processes = processes
        self._begun: dict[int, float] = {}
        self._latest: dict[int, float] = {}
        self._kinds: dict[int, str] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        #: MiB of each kind at each sample, a kind's processes summed.
        self.resident: defaultdict[str, list[float]] = defaultdict(list)

    @property
    def cpu_seconds(self) -> dict[str, float]:
        """CPU seconds of each kind since the beginning."""
        spent: defaultdict[str, float] = defaultdict(float)
        for pid, latest in self._latest.items():
            spent[self._kinds[pid]] += latest - self._begun[pid]
        return dict(spent)

    def __enter__(self) -> Self:
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._sample()

    def _watch(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            self._sample()

    def _sample(self) -> None:
        for kind, pids in self._processes().items():
            resident = 0.0
            for pid in pids:
                try:
                    process = psutil.Process(pid)
                    times = process.cpu_times()
                    resident += process.memory_info().rss / MIB
                except psutil.NoSuchProcess:
                    continue
                self._kinds[pid] = kind
                self._latest[pid] = times.user + times.system
                self._begun.setdefault(pid, self._latest[pid])
            self.resident[kind].append(resident)
