"""Owns the comparison of this service with its peers and with no server at all; it refuses to time one in isolation.

    python -m benchmarks.serving [--seconds 3] [--rounds 3] [--peers functions-sample,azureml,litserve,bentoml]
                                 [--peer-threads 1] [--assets FOLDER]

Servers take turns at each number of connections, a measurement that others disturb is repeated, and medians are
reported. wrk drives them from the same machine, so that its CPU is part of every figure but the limit's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil

from benchmarks.batch.workloads import ASSETS, Workload, WorkloadMissing, open_workload
from benchmarks.ending import end_on_termination
from benchmarks.serving.environments import ROOT, PeerMissing
from benchmarks.serving.load import LoadFailed, drive, find_wrk
from benchmarks.serving.photos import make_photos
from benchmarks.serving.quiet import measure_quietly
from benchmarks.serving.report import CONNECTIONS, LIBRARY, SCRIPT, Limit, Measured, Report, print_report
from benchmarks.serving.servers import APPS, MIB, OWN, PEERS, SAMPLE, Server, Setup, running
from devhost.azurite import Azurite
from inference.engine import available_cores

_TUNED_WITHIN_SECONDS = 30.0
_COLD_STARTS = 5
#: What every Python function app and the worker that runs it import, whatever the app does.
_LIBRARY_MODULES = ("asyncio", "azure.functions", "azure_functions_runtime")
#: Of each measurement, while others use the machine.
_TRIES = 6


def compare(setup: Setup, peers: tuple[str, ...], seconds: int, rounds: int) -> Report:
    """Start everything, measure in turns, stop everything. Raises LoadFailed."""
    report = Report()
    _compile_own()
    _measure_cold_starts(setup, report)
    with ExitStack() as stack:
        servers = [stack.enter_context(running(OWN, setup))]
        # Before the peers start: what they take meanwhile would be taken for the model's own speed.
        report.plan = _await_plan(servers[0])
        for name in peers:
            try:
                servers.append(stack.enter_context(running(name, setup)))
            except (PeerMissing, TimeoutError) as exc:
                print(f"{name} is left out: {exc}", file=sys.stderr)
            else:
                if name != SAMPLE:  # which has started alone, as this service
                    report.cold[name].append(servers[-1].cold_seconds)
        for server in servers:
            drive(server.requests, setup.cores, 1, setup.scratch)
        for number in range(rounds):
            print(f"round {number + 1} of {rounds} …", file=sys.stderr)
            _measure_round(setup, servers, seconds, report)
        for server in servers:
            report.resident[server.name] = dict(server.resident())
    return report


def _compile_own() -> None:
    """Compile this service as its image does, whatever Python is told of writing bytecode; pip compiled the peers."""
    compiled = [str(ROOT / name) for name in ("function_app.py", "inference", "devhost", "benchmarks/serving/peers")]
    subprocess.run([sys.executable, "-m", "compileall", "-q", *compiled], check=True)


def _measure_round(setup: Setup, servers: list[Server], seconds: int, report: Report) -> None:
    for loops in (1, setup.cores):
        limit = measure_quietly(partial(_measure_limit, setup, seconds, loops), None, _TRIES)
        report.limits[loops].append(Limit(*limit.value, limit.foreign))
    for connections in CONNECTIONS:
        for server in servers:
            measure = partial(drive, server.requests, connections, seconds, setup.scratch)
            observed = measure_quietly(measure, server.process.pid, _TRIES)
            cpu = observed.cpu_seconds * 1000 / (observed.value.per_second * seconds)
            report.loads[server.name, connections].append(Measured(observed.value, cpu, observed.foreign))


def _measure_limit(setup: Setup, seconds: int, loops: int) -> tuple[float, float, float]:
    """Return images a second, milliseconds and CPU milliseconds of one, of the peers' pipeline, in a new process."""
    command = [sys.executable, str(APPS / "limit.py"), str(seconds), str(loops), *map(str, setup.photos.raw)]
    environment = {**os.environ, **setup.peer_environment}
    ended = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    rate, milliseconds, cpu = map(float, ended.stdout.split())
    return rate, milliseconds, cpu


def _measure_cold_starts(setup: Setup, report: Report) -> None:
    """Start the script without and with the Functions library, this service and the smallest function app in turn."""
    for _ in range(_COLD_STARTS):
        seconds, resident = _start_script(setup)
        report.cold[SCRIPT].append(seconds)
        report.resident[SCRIPT] = {"process": resident}
        report.cold[LIBRARY].append(_start_script(setup, *_LIBRARY_MODULES)[0])
        for name in (OWN, SAMPLE):
            with running(name, replace(setup, cores=1)) as server:  # one worker's process, and none beside it
                report.cold[name].append(server.cold_seconds)


def _start_script(setup: Setup, *modules: str) -> tuple[float, float]:
    """Return the seconds until the bare script has scored, with these modules imported before, and its MiB."""
    begun = time.perf_counter()
    command = [sys.executable, str(APPS / "bare.py"), str(setup.photos.raw[0]), *modules]
    environment = {**os.environ, **setup.peer_environment}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as script:
        assert script.stdout is not None
        script.stdout.readline()
        seconds = time.perf_counter() - begun
        resident = psutil.Process(script.pid).memory_info().rss / MIB
        script.terminate()
    return seconds, resident


def _await_plan(server: Server) -> dict[str, object]:
    """Wait until the service, left alone, has found its model's execution plan; return it."""
    url = server.requests.url.removesuffix("/score")
    until = time.monotonic() + _TUNED_WITHIN_SECONDS
    while True:
        with urllib.request.urlopen(url) as reply:  # noqa: S310 -- a url of our own
            plan: dict[str, object] = json.load(reply)["execution"]
        if plan["origin"] != "default" or time.monotonic() > until:
            return plan
        time.sleep(0.5)


def _open(assets: Path, scratch: Path) -> Workload:
    return open_workload("mobilenet", assets, scratch / "models")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement, whole ones")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default=",".join(PEERS), help="comma list; empty for none")
    parser.add_argument("--peer-threads", type=int, default=1, help="threads of one run of a peer; 0: onnxruntime's")
    parser.add_argument("--assets", type=Path, default=ASSETS, help="folder of MobileNetV2 and photos")
    options = parser.parse_args()
    peers = tuple(filter(None, options.peers.split(",")))
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as folder, ExitStack() as stack:
        scratch = Path(folder)
        try:
            find_wrk()
            workload = _open(options.assets, scratch)
            azurite = Azurite(scratch / "azurite", executable=ROOT / "node_modules/.bin/azurite")
            setup = Setup(
                workload=workload,
                labels=workload.repository / workload.name / "1/labels.txt",
                photos=make_photos(workload.images, scratch),
                cores=available_cores(),
                peer_threads=options.peer_threads,
                storage=stack.enter_context(azurite).connection_string,
                scratch=scratch,
            )
            print_report(compare(setup, peers, options.seconds, options.rounds), setup.cores)
        except (LoadFailed, WorkloadMissing) as exc:
            sys.exit(str(exc))


if __name__ == "__main__":
    end_on_termination()
    main()
