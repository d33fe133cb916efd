"""How a benchmark that is told to stop ends: as at Ctrl-C, with all that it has started."""

from __future__ import annotations

import signal
import sys


def end_on_termination() -> None:
    """Make SIGTERM an exit that runs what is left to do; else what this process has started would outlive it."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
