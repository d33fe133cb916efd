"""Owns the servers that are compared: how each is started, what it is sent, when it answers, what memory it takes.

It refuses to tune any of them beyond what its documentation shows; each gets as many workers as there are cores.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from benchmarks.batch.workloads import Workload
from benchmarks.serving.environments import ROOT, prepare
from benchmarks.serving.load import Requests
from benchmarks.serving.photos import Photos
from inference.models.session_factory import FOLDER_PREFIX

#: The smallest function app that scores, on the same host: what of a figure is the platform's.
SAMPLE = "functions-sample"
PEERS = (SAMPLE, "azureml", "litserve", "bentoml")
OWN = "onnx-functions"
APPS = ROOT / "benchmarks/serving/peers"
MIB = 1024 * 1024
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Setup:
    """What all servers are given."""

    workload: Workload
    labels: Path
    photos: Photos
    cores: int
    #: Of one run of a peer's model; 0 is onnxruntime's own choice.
    peer_threads: int
    #: Of a running Azurite, for this service.
    storage: str
    scratch: Path

    @property
    def model(self) -> Path:
        """The model's file."""
        return self.workload.repository / self.workload.name / "1/model.onnx"

    @property
    def peer_environment(self) -> dict[str, str]:
        """What `peers/pipeline.py` reads."""
        return {
            "MODEL": str(self.model),
            "LABELS": str(self.labels),
            "THREADS": str(self.peer_threads),
            "PYTHONPATH": str(APPS),
            # As for this service, which does it itself.
            "ORT_DISABLE_TELEMETRY": "1",
        }


@dataclass(frozen=True, slots=True)
class Server:
    """One running server."""

    name: str
    process: subprocess.Popen[bytes]
    requests: Requests
    #: From the start of the process to the first scored reply.
    cold_seconds: float

    def resident(self) -> Mapping[str, float]:
        """Return MiB by process: its role and resident memory, the server's own first.

        Weights that two sessions of one process map are in memory, and count, once.
        """
        main = psutil.Process(self.process.pid)
        found = {}
        for process in (main, *main.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                role = "worker" if "devhost.worker" in process.cmdline() else "process"
                found[f"{role} {process.pid}"] = _resident_bytes(process) / MIB
        return found


def _resident_bytes(process: psutil.Process) -> int:
    twice = [mapped for mapped in process.memory_maps(grouped=False) if FOLDER_PREFIX in mapped.path]
    return int(process.memory_info().rss - sum(mapped.rss - mapped.pss for mapped in twice))


@dataclass(frozen=True, slots=True)
class _Launch:
    command: list[str]
    requests: Requests
    environment: dict[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def running(name: str, setup: Setup) -> Iterator[Server]:
    """Start a server, wait for its first scored reply, and stop it at the end. Raises PeerMissing, TimeoutError."""
    launch = _own(setup) if name == OWN else _peer(name, setup)
    log = (setup.scratch / f"{name}.log").open("wb")
    begun = time.perf_counter()
    process = subprocess.Popen(
        launch.command,
        cwd=ROOT if name in (OWN, SAMPLE) else setup.scratch,
        env={**os.environ, **launch.environment},
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        _await_reply(launch.requests, process)
        yield Server(name, process, launch.requests, time.perf_counter() - begun)
    finally:
        _stop(process)
        log.close()


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _own(setup: Setup) -> _Launch:
    port = free_port()
    url = f"http://127.0.0.1:{port}/api/models/{setup.workload.name}/score"
    environment = {
        "AzureWebJobsStorage": setup.storage,
        "INFERENCE_MODEL_REPOSITORY": str(setup.workload.repository),
        "INFERENCE_DEFAULT_MODEL": setup.workload.name,
        "INFERENCE_PLAN_CACHE": str(setup.scratch / "plans"),
        # As infra/bicep sets it.
        "INFERENCE_PREPARE_STORAGE": "false",
    }
    return _Launch(_on_local_host(ROOT, port), Requests(url, "image/jpeg", setup.photos.raw), environment)


def _on_local_host(app: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "devhost", "--script-root", str(app), "--port", str(port)]


def _sample(setup: Setup) -> _Launch:
    port = free_port()
    environment = {
        **setup.peer_environment,
        "AzureWebJobsStorage": setup.storage,
        "FUNCTIONS_WORKER_PROCESS_COUNT": str(setup.cores),
    }
    requests = Requests(f"http://127.0.0.1:{port}/api/score", "image/jpeg", setup.photos.raw)
    return _Launch(_on_local_host(APPS / "functions_sample", port), requests, environment)


def _peer(name: str, setup: Setup) -> _Launch:
    if name == SAMPLE:
        return _sample(setup)
    commands, port, workers = prepare(name), free_port(), str(setup.cores)
    url = f"http://127.0.0.1:{port}"
    if name == "azureml":
        command = [str(commands / "azmlinfsrv"), "--entry_script", str(APPS / "azureml_score.py"), "--port", str(port)]
        environment = {"WORKER_COUNT": workers, "AZUREML_MODEL_DIR": str(setup.model.parent)}
        requests = Requests(f"{url}/score", "image/jpeg", setup.photos.raw)
    elif name == "litserve":
        command = [str(commands / "python"), str(APPS / "litserve_app.py"), str(port), workers]
        environment = {}
        requests = Requests(f"{url}/predict", "application/json", setup.photos.json)
    else:
        command = [str(commands / "bentoml"), "serve", "bentoml_service:Classifier", "--port", str(port)]
        command += ["--working-dir", str(APPS)]
        environment = {"WORKERS": workers, "BENTOML_DO_NOT_TRACK": "true", "BENTOML_HOME": str(setup.scratch / "bento")}
        requests = Requests(f"{url}/predict", setup.photos.form_type, setup.photos.form)
    path = f"{commands}:{os.environ.get('PATH', '')}"
    return _Launch(command, requests, {**setup.peer_environment, **environment, "PATH": path})


def _await_reply(requests: Requests, process: subprocess.Popen[bytes]) -> None:
    url, body = urlsplit(requests.url), requests.bodies[0].read_bytes()
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise TimeoutError(f"{requests.url}: the server ended with code {process.returncode}")
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=_START_SECONDS)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("POST", url.path, body, {"Content-Type": requests.content_type})
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        time.sleep(0.005)
    raise TimeoutError(f"{requests.url}: no scored reply within {_START_SECONDS:g} s")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a server and what it has started, which for some of the peers outlives it."""
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    _, alive = psutil.wait_procs(children, timeout=1)
    for child in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    if process.poll() is None:
        process.kill()
        process.wait()
