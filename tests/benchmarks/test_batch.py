"""The benchmark of the batch path on a small batch: it runs, and a shard costs the calls that the docs say."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.batch.path import open_bench
from benchmarks.batch.workloads import WorkloadMissing, open_workload

SHARDS = 10


async def test_a_shard_costs_six_calls_to_storage(azurite: str, tmp_path: Path) -> None:
    workload = open_workload("digits", tmp_path, tmp_path)

    async with open_bench(workload, tmp_path, {}, is_counted=True) as bench:
        run = await bench.run(SHARDS * 20, mini_batch_size=20)

    calls = {call.replace("bench*", "*"): count for call, count in run.calls.items()}
    assert calls["PUT results */parts/*.jsonl"] == SHARDS
    # Once by the worker, which finds none, and once by the finisher.
    assert calls["GET results */parts/*.jsonl"] == 2 * SHARDS
    assert calls["GET manifests _data/*/manifest*.jsonl"] == SHARDS
    assert calls["send batch-shards"] == SHARDS
    assert calls["delete batch-shards"] == SHARDS
    # What remains does not grow with the shards, but with the seconds: polls, looks for a stop, the finisher's looks.
    rest = sum(count for call, count in calls.items() if not call.startswith("receive ")) - 6 * SHARDS
    assert rest < 30 + 6 * run.seconds
    assert run.cpu_seconds.keys() == {"worker", "host", "azurite", "origin"}
    assert min(run.cpu_seconds.values()) >= 0
    assert max(run.resident["worker"]) > 50


def test_models_that_are_not_there_are_told_of(tmp_path: Path) -> None:
    with pytest.raises(WorkloadMissing, match="--assets"):
        open_workload("mobilenet", tmp_path / "nothing", tmp_path)
