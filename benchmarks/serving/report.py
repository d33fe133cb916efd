"""Owns what is made of the measurements: medians, ratios, and the table for people and for the docs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from statistics import median

from benchmarks.serving.load import Load
from benchmarks.serving.servers import OWN, SAMPLE

CONNECTIONS = (1, 2, 8, 32)
SCRIPT = "script"
#: The script after the imports of every function app: no app, however small, scores sooner.
LIBRARY = "script with the Functions library"


@dataclass(frozen=True, slots=True)
class Measured:
    """One round of one server at one number of connections."""

    load: Load
    #: Of the server's processes, milliseconds a request: what it would take on any number of cores, however busy.
    cpu: float
    #: The share of the machine that others took meanwhile.
    foreign: float


@dataclass(frozen=True, slots=True)
class Limit:
    """One round without a server: images a second, milliseconds and CPU milliseconds of one."""

    per_second: float
    milliseconds: float
    cpu: float
    foreign: float


@dataclass(slots=True)
class Report:
    """All that was measured, a value each round."""

    loads: defaultdict[tuple[str, int], list[Measured]] = field(default_factory=lambda: defaultdict(list))
    #: By loops at once.
    limits: defaultdict[int, list[Limit]] = field(default_factory=lambda: defaultdict(list))
    #: Seconds from the start of the process to the first score.
    cold: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    #: MiB by process, under load.
    resident: dict[str, dict[str, float]] = field(default_factory=dict)
    plan: dict[str, object] = field(default_factory=dict)

    @property
    def servers(self) -> list[str]:
        """Who was measured, this service first."""
        return list(dict.fromkeys(name for name, _ in self.loads))

    def rate(self, name: str, connections: int) -> float:
        """Return the median of requests a second."""
        return median(measured.load.per_second for measured in self.loads[name, connections])

    def p50(self, name: str, connections: int) -> float:
        """Return the median of the median latencies, in milliseconds."""
        return median(measured.load.p50 for measured in self.loads[name, connections])

    def p99(self, name: str, connections: int) -> float:
        """Return the median of the 99th percentiles, in milliseconds."""
        return median(measured.load.p99 for measured in self.loads[name, connections])

    def cpu(self, name: str) -> float:
        """Return the median of CPU milliseconds a request at 8 connections."""
        return median(measured.cpu for measured in self.loads[name, 8])

    def limit(self, loops: int) -> Limit:
        """Return the medians of the limit."""
        rounds = self.limits[loops]
        return Limit(*(median(getattr(limit, name) for limit in rounds) for name in Limit.__slots__))

    def foreign(self) -> float:
        """Return the median share of the machine that others took."""
        shares = [measured.foreign for rounds in self.loads.values() for measured in rounds]
        shares += [limit.foreign for limits in self.limits.values() for limit in limits]
        return median(shares)

    def worker(self) -> float:
        """Return the MiB of this service's worker, without the local host's own process."""
        return sum(value for role, value in self.resident[OWN].items() if role.startswith("worker"))


def print_report(report: Report, cores: int) -> None:
    """Print the table in Markdown, then the bars."""
    print(f"\n{cores} cores, {report.foreign():.0%} of them taken by others; execution plan: {report.plan}\n")
    head = ["", *(f"{count} conn." for count in CONNECTIONS), "CPU, ms", "memory, MiB", "cold start, s"]
    print(_row(head), _row(["---"] * len(head)), sep="\n")
    for name in report.servers:
        cells = [
            f"{report.rate(name, count):.0f}/s, {report.p50(name, count):.1f} / {report.p99(name, count):.0f} ms"
            for count in CONNECTIONS
        ]
        cells += [f"{report.cpu(name):.1f}", _memory(report, name), f"{median(report.cold[name]):.2f}"]
        print(_row([name, *cells]))
    alone, full = report.limit(1), report.limit(cores)
    cells = [f"{alone.per_second:.0f}/s, {alone.milliseconds:.1f} ms"]
    cells += [f"{full.per_second:.0f}/s"] * (len(CONNECTIONS) - 1)
    cells += [f"{full.cpu:.1f}", _memory(report, SCRIPT), f"{median(report.cold[SCRIPT]):.2f}"]
    print(_row(["in process", *cells]))
    print(
        "\nEach cell: requests a second, p50 / p99. CPU: of all of a server's processes, a request, at 8 connections.\n"
    )
    for line in _bars(report, full):
        print(line)


def _bars(report: Report, limit: Limit) -> Iterator[str]:
    peers = report.servers[1:]
    if peers:
        quickest = min(report.p50(peer, 1) for peer in peers)
        fastest = max(report.rate(peer, 8) for peer in peers)
        yield _bar("p50 at 1 connection / best peer", report.p50(OWN, 1) / quickest, 0.70, is_most=True)
        yield _bar("throughput at 8 connections / best peer", report.rate(OWN, 8) / fastest, 1.10)
        leanest = min(report.cpu(peer) for peer in peers)
        yield f"requests for the same CPU at 8 connections / best peer: {leanest / report.cpu(OWN):.2f}"
    yield _bar("throughput at 8 connections / in-process limit", report.rate(OWN, 8) / limit.per_second, 0.95)
    yield f"requests for the same CPU at 8 connections / in-process limit: {limit.cpu / report.cpu(OWN):.2f}"
    yield _bar("throughput at 32 connections / at 8", report.rate(OWN, 32) / report.rate(OWN, 8), 0.95)
    cold = {name: median(seconds) for name, seconds in report.cold.items()}
    yield _bar("cold start / bare script", cold[OWN] / cold[SCRIPT], 1.3, is_most=True)
    yield f"cold start of the {LIBRARY} / bare script: {cold[LIBRARY] / cold[SCRIPT]:.2f}"
    yield f"cold start / smallest function app: {cold[OWN] / cold[SAMPLE]:.2f}"
    worker = report.worker() / sum(report.resident[SCRIPT].values())
    yield _bar("memory of the worker / bare script", worker, 1.5, is_most=True)


def _bar(what: str, ratio: float, bar: float, *, is_most: bool = False) -> str:
    is_met = ratio <= bar if is_most else ratio >= bar
    return f"{what}: {ratio:.2f} (bar {'≤' if is_most else '≥'} {bar:.2f}: {'met' if is_met else 'missed'})"


def _memory(report: Report, name: str) -> str:
    total = sum(report.resident[name].values())
    return f"{total:.0f} (worker {report.worker():.0f})" if name == OWN else f"{total:.0f}"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
