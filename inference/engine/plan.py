"""Execution plans: how many cores one run of a model takes, how many runs go at once, how many items join in one.

It refuses to measure anything: timings go in, a plan comes out, so that each rule can be read and tested by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

#: A second session costs memory, and timings on a shared machine differ by some percent from themselves: less than
#: this is no gain.
LATENCY_MARGIN = 1.10

#: One thread a run has no other costs; on the models measured nothing beat it by as much as this but by mistake.
THROUGHPUT_MARGIN = 1.25

#: Rates of the default that differ by more from round to round tell of other work on the machine, not of the model.
STEADY_RATIO = 1.25

#: Joining items makes each wait for the others, so it must gain more.
BATCH_MARGIN = 1.20

#: What passing an item from core to core costs (two more hops between threads, measured at 0.1 to 0.2 ms); a batch
#: must save more than that of each item's share of a core.
HANDOVER_SECONDS = 0.0003

#: Items that are tried in one run. What gains by more gains by these already, and more hold each other up for longer.
BATCH_SIZES = (4,)

type Origin = Literal["default", "tuned", "declared"]


class ExecutionPlan(Struct, frozen=True):
    """How one model runs."""

    #: Cores of one run while others wait or compute.
    threads: int
    #: Such runs at once.
    parallel: int
    #: Items joined in one run at most; 1: they are not.
    max_batch: int
    #: Cores of a run that has the machine to itself.
    idle_threads: int
    #: Whether the threads of such a run burn CPU to wake up faster; they stop with the run.
    spinning: bool
    #: `declared`: at least in part by model.toml.
    origin: Origin

    @property
    def has_idle_lane(self) -> bool:
        """Whether a run that has the machine to itself goes another way."""
        return self.idle_threads != self.threads or self.spinning


class Declared(Struct, frozen=True):
    """What `[execution]` of model.toml fixes; None is left to the timings."""

    threads: int | None = None
    parallel: int | None = None
    max_batch: int | None = None

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to be timed."""
        return None not in (self.threads, self.max_batch)


class Candidate(Struct, frozen=True):
    """One way to run that is worth timing."""

    threads: int
    parallel: int
    batch: int = 1
    spinning: bool = False


class Timing(Struct, frozen=True):
    """What one candidate took."""

    candidate: Candidate
    #: The shortest single run with nothing beside it.
    alone_seconds: float
    #: With `parallel` runs going at once.
    items_per_second: float


def default_plan(cores: int) -> ExecutionPlan:
    """Return what is safe for every model: one thread a run, as many runs as cores.

    docs/decisions/execution-plan.md tells why.
    """
    return ExecutionPlan(threads=1, parallel=cores, max_batch=1, idle_threads=1, spinning=False, origin="default")


def override(plan: ExecutionPlan, declared: Declared, cores: int) -> ExecutionPlan:
    """Return the plan with what the model's author fixed; threads that are declared hold for idle runs too."""
    if declared == Declared():
        return plan
    if declared.threads is not None:
        parallel = max(1, cores // declared.threads)
        plan = replace(plan, threads=declared.threads, parallel=parallel, idle_threads=declared.threads, spinning=False)
    return replace(
        plan,
        parallel=declared.parallel or plan.parallel,
        max_batch=declared.max_batch or plan.max_batch,
        origin="declared",
    )


def list_candidates(cores: int, declared: Declared, *, can_batch: bool) -> list[Candidate]:
    """Return what is worth timing, the default first; only that when there is nothing to choose."""
    if declared.threads is not None:
        widths = [declared.threads]
    else:
        widths = sorted({1, cores, *(2**power for power in range(cores.bit_length()) if 2**power <= cores)})
    candidates = [Candidate(threads, declared.parallel or max(1, cores // threads)) for threads in widths]
    if declared.threads is None and cores > 1:
        candidates.append(Candidate(cores, 1, spinning=True))
    if can_batch and declared.max_batch is None:
        ends = {candidates[0], *(c for c in candidates if c.threads == cores and not c.spinning)}
        ordered = sorted(ends, key=lambda candidate: candidate.threads)
        candidates += [replace(candidate, batch=batch) for batch in BATCH_SIZES for candidate in ordered]
    return candidates


def is_steady(timings: Sequence[Timing]) -> bool:
    """Tell whether the rounds of the default, the first candidate, agree enough for a choice to mean anything."""
    rates = [timing.items_per_second for timing in timings if timing.candidate == timings[0].candidate]
    return max(rates) <= min(rates) * STEADY_RATIO


def choose_plan(timings: Sequence[Timing], declared: Declared, cores: int) -> ExecutionPlan:
    """Return the plan that the timings speak for; a tie goes to the plainer way. `timings` hold the default."""
    timings = _merge(timings)
    single = [timing for timing in timings if timing.candidate.batch == 1]
    loaded = _fastest((t for t in single if not t.candidate.spinning), THROUGHPUT_MARGIN)
    joined = _worth_joining(loaded, [timing for timing in timings if timing.candidate.batch > 1])
    chosen = (joined or loaded).candidate
    idle = _quickest(single)
    plan = ExecutionPlan(
        threads=chosen.threads,
        parallel=chosen.parallel,
        max_batch=chosen.batch,
        idle_threads=max(idle.threads, chosen.threads),
        spinning=idle.spinning and idle.threads >= chosen.threads,
        origin="tuned",
    )
    return override(plan, declared, cores)


def _merge(timings: Sequence[Timing]) -> list[Timing]:
    """Return one timing a candidate: its best run alone, and the throughput by which it beat the default at least.

    What disturbs a run alone makes it slower, never faster. Of two throughputs it makes either one lower than the
    other, so that a gain must show in every round; a round begins with the default.
    """
    default = timings[0].candidate
    alone: dict[Candidate, float] = {}
    gains: dict[Candidate, float] = {}
    base = best = timings[0].items_per_second
    for timing in timings:
        if timing.candidate == default:
            base, best = timing.items_per_second, max(best, timing.items_per_second)
        gain = timing.items_per_second / base
        alone[timing.candidate] = min(timing.alone_seconds, alone.get(timing.candidate, timing.alone_seconds))
        gains[timing.candidate] = min(gain, gains.get(timing.candidate, gain))
    return [Timing(candidate, alone[candidate], best * gains[candidate]) for candidate in gains]


def _fastest(timings: Iterable[Timing], margin: float) -> Timing:
    best, *others = sorted(timings, key=lambda timing: timing.candidate.threads)
    for timing in others:
        if timing.items_per_second >= best.items_per_second * margin:
            best = timing
    return best


def _worth_joining(single: Timing, joined: Sequence[Timing]) -> Timing | None:
    if not joined:
        return None
    best = max(joined, key=lambda timing: timing.items_per_second)
    cores = single.candidate.threads * single.candidate.parallel
    saved = cores / single.items_per_second - cores / best.items_per_second
    is_worth = best.items_per_second >= single.items_per_second * BATCH_MARGIN and saved > HANDOVER_SECONDS
    return best if is_worth else None


def _quickest(timings: Sequence[Timing]) -> Candidate:
    best, *others = sorted(timings, key=lambda timing: (timing.candidate.spinning, timing.candidate.threads))
    for timing in others:
        if timing.alone_seconds * LATENCY_MARGIN <= best.alone_seconds:
            best = timing
    return best.candidate
