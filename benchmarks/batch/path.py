"""Owns one run of the whole path: a manifest on the queue of the real service, until its results are complete.

The service is the local host with its worker, Azurite and the origin, each a process of its own on the same cores. It
refuses to look inside the service: rows and the summary say what came out.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import psutil

from benchmarks.batch.calls import counted
from benchmarks.batch.processes import Machine, Sampler
from benchmarks.batch.workloads import ROOT, Workload
from devhost.azurite import Azurite
from inference.settings import StorageSettings
from inference.storage import BlobNotFound
from inference.storage.azure import AzureStorage
from tests.hosting import HostProcess

#: Often enough to be a small part of a run, and rare enough to cost Azurite nothing.
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Run:
    """What one batch took."""

    images: int
    seconds: float
    #: From the first part to the last one: without the polls before and the last look after.
    scoring_seconds: float
    #: What processes that are no part of the path took of the cores.
    others_share: float
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    resident: dict[str, list[float]] = field(default_factory=dict)
    #: To storage, by kind, when they were counted.
    calls: Counter[str] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Images a second, manifest to results."""
        return self.images / self.seconds

    @property
    def cpu_milliseconds(self) -> dict[str, float]:
        """CPU an image, by kind of process."""
        return {kind: seconds * 1000 / self.images for kind, seconds in self.cpu_seconds.items()}


@dataclass(frozen=True, slots=True)
class Bench:
    """A running service, its storage and its origin."""

    host: HostProcess
    storage: AzureStorage
    workload: Workload
    origin_url: str
    origin_pid: int
    azurite_pid: int
    #: Calls to storage so far, when they are counted.
    calls: Counter[str]

    def processes(self) -> dict[str, list[int]]:
        """Return who takes part, by kind."""
        return {
            "worker": self.host.worker_pids,
            "host": [self.host.process.pid],
            "azurite": [self.azurite_pid],
            "origin": [self.origin_pid],
        }

    async def run(self, images: int, mini_batch_size: int | None = None) -> Run:
        """Submit a manifest of so many images by pointer and wait for its results. Raises AssertionError."""
        batch_id = f"bench-{uuid.uuid4().hex[:12]}"
        manifest = f"{batch_id}.txt"
        await self.storage.blobs("manifests").write_stream(manifest, self._lines(images))
        message = {"batch_id": batch_id, "manifest": manifest, "model": self.workload.name}
        if mini_batch_size:
            message["mini_batch_size"] = mini_batch_size  # type: ignore[assignment]
        before = self.calls.copy()
        with Sampler(self.processes) as sampler:
            machine, begun = Machine(), time.perf_counter()
            await self.storage.queue("batch-manifests").send(orjson.dumps(message))
            summary = await self._summary(batch_id)
            seconds = time.perf_counter() - begun
        calls = self.calls - before
        assert (summary["succeeded"], summary["failed"]) == (images, 0), summary
        parts = [part.last_modified async for part in self.storage.blobs("results").list(f"{batch_id}/parts/")]
        scoring = (max(parts) - min(parts)).total_seconds()
        others = machine.others_share(sum(sampler.cpu_seconds.values()))
        return Run(images, seconds, scoring, others, sampler.cpu_seconds, dict(sampler.resident), calls)

    async def _lines(self, images: int) -> AsyncIterator[bytes]:
        names = itertools.islice(itertools.cycle(path.name for path in self.workload.images), images)
        for some in itertools.batched(enumerate(names), 1000, strict=False):
            yield b"".join(b"%s/%s?%d\n" % (self.origin_url.encode(), name.encode(), index) for index, name in some)

    async def _summary(self, batch_id: str) -> dict[str, int]:
        results = self.storage.blobs("results")
        while True:
            try:
                found: dict[str, int] = orjson.loads((await results.read(f"{batch_id}/summary.json")).data)
            except BlobNotFound:
                await asyncio.sleep(_LOOK_SECONDS)
            else:
                return found


@contextlib.asynccontextmanager
async def open_bench(
    workload: Workload, scratch: Path, settings: Mapping[str, str], *, is_counted: bool = False
) -> AsyncIterator[Bench]:
    """Start storage, origin and service, warm; `is_counted` counts the calls to storage, and slows them."""
    with contextlib.ExitStack() as running:
        azurite = Azurite(scratch / "azurite", executable=ROOT / "node_modules/.bin/azurite")
        connection_string = running.enter_context(azurite).connection_string
        calls: Counter[str] = Counter()
        if is_counted:
            connection_string, calls = running.enter_context(counted(connection_string))
        origin, port = running.enter_context(_serving(workload, scratch / "images"))
        environment = {
            "AzureWebJobsStorage": connection_string,
            "INFERENCE_MODEL_REPOSITORY": str(workload.repository),
            "INFERENCE_DEFAULT_MODEL": workload.name,
            "INFERENCE_FETCH_ALLOW": f"127.0.0.1/32:{port}",
            "INFERENCE_FETCH_HTTP": "true",
            **settings,
        }
        host = running.enter_context(HostProcess(ROOT, environment=environment))
        async with AzureStorage.connect(StorageSettings(connection_string=azurite.connection_string)) as storage:
            bench = Bench(host, storage, workload, f"http://127.0.0.1:{port}", origin.pid, _azurite_pid(), calls)
            await bench.run(100)
            yield bench


def _azurite_pid() -> int:
    return next(
        child.pid for child in psutil.Process().children() if any("azurite" in part for part in child.cmdline())
    )


@contextlib.contextmanager
def _serving(workload: Workload, folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Serve the workload's images from a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in workload.images:
        (folder / path.name).write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "benchmarks.batch.origin", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as origin:
        assert origin.stdout is not None
        try:
            yield origin, int(origin.stdout.readline())
        finally:
            origin.terminate()
