"""Cores from the cgroup's quota, as Container Apps sets it."""

import os
from pathlib import Path

import pytest

from inference.engine.cores import available_cores

VISIBLE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "25000 100000"}, 1),
        ({"cpu.max": "150000 100000"}, min(2, VISIBLE)),
        ({"cpu.max": "9900000 100000"}, VISIBLE),
        ({"cpu.max": "max 100000"}, VISIBLE),
        ({"cpu.max": "rubbish"}, VISIBLE),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, VISIBLE),
        ({}, VISIBLE),
    ],
)
def test_cores_are_the_quota_rounded_up_and_never_more_than_are_visible(
    tmp_path: Path, files: dict[str, str], cores: int
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")

    assert available_cores(tmp_path) == cores
