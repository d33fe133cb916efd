"""How many cores this container may use; it refuses to trust the host's core count.

A CPU quota (what Container Apps sets) does not hide cores from `os.cpu_count`, and a thread more than the quota pays
for costs several times over (measured in the benchmarks), so the cgroup is asked first.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def available_cores(cgroup: Path = CGROUP) -> int:
    """Return the whole cores to compute on, at least 1: the smaller of the CPU quota and the affinity mask."""
    visible = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    # Rounded up: a quota of 1.5 cores keeps two threads busy three quarters of the time; one would waste a third.
    return max(1, min(visible, math.ceil(quota))) if quota else max(1, visible)


def _quota(cgroup: Path) -> float | None:
    """Return the quota in cores from cgroup v2 (`cpu.max`) or v1 (`cpu.cfs_quota_us`), None when unlimited."""
    try:
        text, _, period = (cgroup / "cpu.max").read_text().strip().partition(" ")
        return None if text == "max" else int(text) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        pass
    try:
        quota = int((cgroup / "cpu/cpu.cfs_quota_us").read_text())
        return quota / int((cgroup / "cpu/cpu.cfs_period_us").read_text()) if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
