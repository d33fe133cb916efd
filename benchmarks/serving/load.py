"""Owns the load generator: wrk, a compiled one, so that making requests costs little of what is measured.

It refuses replies that are not 200: their speed is nobody's business.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

#: Each thread of wrk reads its requests from files named in the arguments, and prints what was measured as JSON.
_SCRIPT = """
local requests, turn = {}, 0
function init(arguments)
  for _, path in ipairs({table.unpack(arguments, 2)}) do
    local file = assert(io.open(path, "rb"))
    requests[#requests + 1] = wrk.format("POST", nil, {["Content-Type"] = arguments[1]}, file:read("*all"))
    file:close()
  end
end
function request()
  turn = turn % #requests + 1
  return requests[turn]
end
function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format('\\n{"requests": %d, "microseconds": %d, "p50": %f, "p99": %f, "failed": %d}\\n',
    summary.requests, summary.duration, latency:percentile(50) / 1000, latency:percentile(99) / 1000, failed))
end
"""


class LoadFailed(Exception):
    """wrk is missing, or requests failed."""


@dataclass(frozen=True, slots=True)
class Requests:
    """What is sent over and over: bodies in files, of one content type."""

    url: str
    content_type: str
    bodies: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """What came back."""

    per_second: float
    #: Milliseconds.
    p50: float
    p99: float


def find_wrk() -> str:
    """Return the path of wrk. Raises LoadFailed."""
    path = shutil.which("wrk")
    if path is None:
        raise LoadFailed("wrk is not installed: apt-get install wrk (Debian, Ubuntu) or brew install wrk (macOS).")
    return path


def drive(requests: Requests, connections: int, seconds: int, scratch: Path) -> Load:
    """Send requests over so many connections, each as soon as the last was answered. Raises LoadFailed."""
    script = scratch / "wrk.lua"
    script.write_text("table.unpack = table.unpack or unpack\n" + _SCRIPT)
    command = [find_wrk(), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
    command += [requests.url, "--", requests.content_type, *map(str, requests.bodies)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in ended.stdout.splitlines() if line.startswith("{")]
    if ended.returncode or not lines:
        raise LoadFailed(f"wrk: {ended.stdout}{ended.stderr}")
    measured = json.loads(lines[-1])
    if measured["failed"] or not measured["requests"]:
        raise LoadFailed(f"{measured['failed']} of {measured['requests']} requests to {requests.url} failed")
    return Load(measured["requests"] * 1e6 / measured["microseconds"], measured["p50"], measured["p99"])
