"""Owns the comparison of the batch path with the limit, and what is printed of it; it refuses to time a counted run.

    python -m benchmarks.batch [--model mobilenet] [--part speed] [--images N] [--rounds 3] [--assets FOLDER] [--full]

Limit and path take turns, so that whatever else the machine does meets both. Reported are medians of the rounds in
which other processes left the cores alone.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.batch.path import Bench, Run, open_bench
from benchmarks.batch.workloads import ASSETS, ROOT, Workload, WorkloadMissing, open_workload
from benchmarks.ending import end_on_termination

#: Images of a timed batch: long enough that the polls before and after it weigh little.
_IMAGES = {"digits": 20_000, "mobilenet": 4_000}
_PARTS = ("speed", "calls", "memory")
_COUNTED_IMAGES = 2_000
_MEMORY_IMAGES, _FULL_MEMORY_IMAGES = 20_000, 100_000
#: The issue's bar for MobileNetV2.
_BAR = 0.90
_SETTLED = 0.2
#: A round counts when other processes took no more of the cores.
_QUIET = 0.1


@dataclass(frozen=True, slots=True)
class Limit:
    """One round of the limit."""

    rate: float
    cpu_milliseconds: float
    others_share: float

    @classmethod
    def measure(cls, workload: Workload, images: int, folder: Path) -> Limit:
        """Measure in a process of its own."""
        command = [sys.executable, "-m", "benchmarks.batch.limit", str(workload.repository), workload.name, str(folder)]
        command += ["--count", str(images)]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        return cls(*map(float, done.stdout.split()))


type Round = tuple[Limit, Run]


async def compare(workload: Workload, images: int, rounds: int, scratch: Path) -> None:
    """Time limit and path in turn, and print both."""
    measured: list[Round] = []
    async with open_bench(workload, scratch, {}) as bench:
        for _ in range(rounds):
            limit = await asyncio.to_thread(Limit.measure, workload, max(100, images // 4), scratch / "images")
            run = await bench.run(images)
            measured.append((limit, run))
            print(
                f"  limit {limit.rate:7.1f}/s   path {run.rate:7.1f}/s   {_others(measured[-1]):.0%} others'",
                flush=True,
            )
    quiet = [round_ for round_ in measured if _others(round_) <= _QUIET]
    if not quiet:
        print("  NOISY: other processes took more than a tenth of the cores in every round")
    print_comparison(quiet or measured)


def _others(measured: Round) -> float:
    limit, run = measured
    return max(limit.others_share, run.others_share)


def print_comparison(measured: list[Round]) -> None:
    """Print medians: rates, their ratio, and where the CPU went."""
    limits, runs = zip(*measured, strict=True)
    limit, path = median(limit.rate for limit in limits), median(run.rate for run in runs)
    spent = {kind: median(run.cpu_milliseconds[kind] for run in runs) for kind in runs[0].cpu_milliseconds}
    limit_cpu = median(limit.cpu_milliseconds for limit in limits)
    print(
        f"  {runs[0].images} images, {len(runs)} rounds: limit {limit:.1f}/s, manifest to results {path:.1f}/s:",
        end=" ",
    )
    print(f"{path / limit:.2f} of it (bar for MobileNetV2: {_BAR:.2f})")
    print(f"  from the first part to the last one: {median(map(_pace, runs)):.1f}/s")
    print(f"  CPU ms an image: limit {limit_cpu:.2f}; path", *(f"{kind} {value:.2f}" for kind, value in spent.items()))
    print(f"  CPU of the limit over CPU of the path: {limit_cpu / sum(spent.values()):.2f}")


def _pace(run: Run) -> float:
    return run.images / max(run.scoring_seconds, 1.0)


async def count_calls(workload: Workload, scratch: Path) -> None:
    """Print the storage calls of a batch, the host's polls and the benchmark's own looks included."""
    async with open_bench(workload, scratch, {}, is_counted=True) as bench:
        run = await bench.run(_COUNTED_IMAGES)
    polls = sum(count for call, count in run.calls.items() if call.startswith("receive "))
    others = sum(run.calls.values()) - polls
    print(
        f"  {others * 1000 / run.images:.0f} storage calls a 1,000 images, and {polls / run.seconds:.1f} polls a second"
    )
    for call, count in run.calls.most_common():
        print(f"    {count * 1000 / run.images:7.1f}  {call}")


async def watch_memory(bench: Bench, images: int) -> None:
    """Print the resident memory of each process over one long batch: after a fifth of it, and at most from there on."""
    run = await bench.run(images)
    print(f"  {images} images at {run.rate:.0f}/s; MiB after {_SETTLED:.0%} of the time, and at most from then on:")
    for kind, samples in run.resident.items():
        settled = samples[int(len(samples) * _SETTLED) :]
        print(f"    {kind:8} {settled[0]:6.0f} {max(settled):6.0f}")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch", description=__doc__.partition("\n")[0])
    parser.add_argument("--model", choices=sorted(_IMAGES), action="append", help="default: both")
    parser.add_argument("--images", type=int, help=f"images of a timed batch (default: {_IMAGES})")
    parser.add_argument("--part", choices=_PARTS, action="append", help="default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--assets", type=Path, default=ASSETS, help="folder of MobileNetV2 and photos")
    parser.add_argument("--full", action="store_true", help=f"watch memory over {_FULL_MEMORY_IMAGES} images")
    return parser.parse_args()


async def main() -> None:
    """Run everything that was asked for."""
    options = parse_options()
    parts = options.part or _PARTS
    for name in options.model or sorted(_IMAGES):
        with tempfile.TemporaryDirectory(prefix="onnxfn-batch-") as folder:
            scratch = Path(folder)
            try:
                workload = open_workload(name, options.assets, scratch / "models")
            except WorkloadMissing as missing:
                print(f"{name}: skipped: {missing}")
                continue
            if "speed" in parts:
                print(f"{name}: speed", flush=True)
                await compare(workload, options.images or _IMAGES[name], options.rounds, scratch / "speed")
            if "calls" in parts:
                print(f"{name}: storage calls", flush=True)
                await count_calls(workload, scratch / "calls")
            if "memory" in parts and name == "digits":
                print(f"{name}: memory", flush=True)
                async with open_bench(workload, scratch / "memory", {}) as bench:
                    await watch_memory(bench, _FULL_MEMORY_IMAGES if options.full else _MEMORY_IMAGES)


if __name__ == "__main__":
    end_on_termination()
    asyncio.run(main())
