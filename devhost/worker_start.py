"""Owns the start of a worker's process. It refuses to import asyncio: the first worker is on its way while the host
still imports that.
"""

import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class StartedWorker(NamedTuple):
    """A worker's process, its output in pipes, and the host's end of the socket to it."""

    process: subprocess.Popen[bytes]
    channel: socket.socket

    def end(self) -> None:
        """Kill the process, unless it has ended, wait for it, and close what led to it."""
        self.process.kill()
        self.process.wait()
        for end in (self.process.stdout, self.process.stderr, self.channel):
            if end is not None:
                end.close()


def start_worker(app_dir: Path, environment: Mapping[str, str]) -> StartedWorker:
    """Start `python -m devhost.worker`, joined to this process by a socket pair. Raises OSError."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "devhost.worker", str(theirs.fileno()), str(app_dir)],
                cwd=Path(__file__).resolve().parents[1],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=[theirs.fileno()],
                # Ctrl-C in a terminal goes to the host alone, which then drains.
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
    return StartedWorker(process, ours)
