"""A disk that is full: what needs room waits for it, nothing is charged to any item, and the batch completes."""

from __future__ import annotations

import asyncio
import errno
import json
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inference.models.publication import publish_version
from inference.settings import StorageSettings
from inference.storage.azure import AzureStorage
from tests.faults.invariants import check_batch
from tests.faults.site import ROOT, SCANS, Site, new_id
from tests.hosting import DEADLINE_SECONDS, HostProcess, eventually
from tests.origins import Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCAN = (SCANS / "digit-5-a.png").read_bytes()
#: Several times the model.
DISK_BYTES = 512 << 10


class Disk:
    """A small disk of its own, with nothing on it but what the service keeps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Leave no byte, and no model in the cache."""
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        with self._filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError as exc:
                if exc.errno != errno.ENOSPC:
                    raise

    def free(self) -> None:
        """Give the room back."""
        self._filler.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)],  # noqa: S607
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607


async def settings(site: Site, disk: Disk) -> dict[str, str]:
    """Publish the digits to a container, and keep what a host writes to its disk on that small one."""
    container = f"models-{uuid.uuid4().hex[:8]}"
    async with AzureStorage.connect(StorageSettings(connection_string=site.azurite.connection_string)) as account:
        await publish_version(ROOT / "samples/models/digits/1", account.blobs(container), "")
    async with AzureStorage.connect(StorageSettings(connection_string=site.proxy.connection_string)) as proxied:
        endpoint = proxied.blob_endpoint
    return {
        "INFERENCE_MODEL_REPOSITORY": f"{endpoint}/{container}",
        "INFERENCE_MODEL_CACHE": str(disk.folder / "models"),
        "INFERENCE_PLAN_CACHE": str(disk.folder / "plans"),
        "TMPDIR": str(disk.folder),
        "INFERENCE_FAILED_LOAD_SECONDS": "0.5",
        # Its prepared weights lie on that disk too, mapped: they outlive their deletion, and a killed worker gives back
        # more room than the model takes.
        "INFERENCE_TUNING": "off",
    }


async def says(host: HostProcess, status: int, reason: str) -> None:
    """Wait until readiness is this, with a text in it."""

    async def probe() -> bool:
        async with aiohttp.ClientSession() as client, client.get(f"{host.url}/api/ready") as response:
            return response.status == status and reason in await response.text()

    await eventually(probe)


async def test_a_full_disk_at_the_start_delays_a_batch_and_costs_no_attempt(site: Site, disk: Disk) -> None:
    disk.fill()
    batch_id = new_id("full")
    urls = [site.origin.serve(f"/{batch_id}/{i}.png", SCAN) for i in range(4)]
    async with site.serving(**await settings(site, disk)) as host:
        await says(host, 503, "no room left")
        refused = site.proxy.add(_forward, "PUT queue", path="batch-manifests/", text=batch_id)
        await site.submit(batch_id, urls)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await refused.met.wait()  # it was given back
        disk.free()
        await site.ended(batch_id)
        await says(host, 200, "ready")
        await site.drained()

        rows = await check_batch(site, batch_id, urls)
    assert [(row["status"], row["attempts"]) for row in rows] == [("succeeded", 1)] * 4
    assert site.origin.hits[f"/{batch_id}/0.png"] == 1


async def test_a_disk_that_fills_up_under_a_batch_stalls_it_and_costs_no_attempt(site: Site, disk: Disk) -> None:
    """The process that had the model is gone, and the one that takes over cannot fetch it."""
    batch_id, hold = new_id("filled"), asyncio.Event()
    urls = [site.origin.serve(f"/{batch_id}/{i}.png", SCAN) for i in range(4)]
    site.origin.answer(f"/{batch_id}/2.png", Reply(body=SCAN, hold=hold), Reply(body=SCAN))
    async with site.serving(**await settings(site, disk)) as host:
        await site.submit(batch_id, urls)

        async def is_asked() -> bool:
            return site.origin.hits[f"/{batch_id}/2.png"] > 0

        await eventually(is_asked)
        disk.fill()
        await asyncio.to_thread(host.kill_worker)
        hold.set()
        await says(host, 503, "no room left")
        part = await eventually(lambda: site.account.read("results", f"{batch_id}/parts/00000.jsonl"))
        assert part is not None
        stalled = [json.loads(line) for line in part.splitlines()]
        assert [(row["status"], row["attempts"]) for row in stalled] == [("pending", 0)] * 4
        disk.free()
        await site.ended(batch_id)
        await site.drained()

        rows = await check_batch(site, batch_id, urls)
    assert [(row["status"], row["attempts"]) for row in rows] == [("succeeded", 1)] * 4


async def _forward(exchange: Any) -> Any:
    return await exchange.forward()
