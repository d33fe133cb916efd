"""One deployment under faults: Azurite behind the fault proxy, an origin, models, and hosts that come and go."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devhost.azurite import Azurite
from tests.faults.proxy import FaultProxy
from tests.hosting import HostProcess, eventually
from tests.origins import Origin, Reply
from tests.service.account import Account

ROOT = Path(__file__).parents[2]
SCANS = ROOT / "samples" / "images" / "digits"

WORK_QUEUES = ("batch-manifests", "batch-shards", "batch-finish")
QUEUES = [*WORK_QUEUES, *(f"{queue}-poison" for queue in WORK_QUEUES)]

#: Back-off, looks and leases in seconds instead of minutes; what they guard does not depend on their length.
QUICK = {
    "INFERENCE_RETRY_BASE_SECONDS": "0.2",
    "INFERENCE_RETRY_CAP_SECONDS": "2",
    "INFERENCE_FINISH_POLL_SECONDS": "0.2",
    "INFERENCE_FINISH_POLL_CAP_SECONDS": "1",
    "AzureFunctionsJobHost__extensions__queues__visibilityTimeout": "00:00:01",
    "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:00.100",
    "DEVHOST_LEASE_SECONDS": "3",
}

#: For many small batches at once, some of them held up.
WIDE = {
    "AzureFunctionsJobHost__extensions__queues__batchSize": "16",
    "AzureFunctionsJobHost__extensions__queues__newBatchThreshold": "32",
}

#: As DEADLINE_SECONDS, for a batch and more: some of what is waited for is back-off and leases.
DRAIN_SECONDS = 240.0


@dataclass
class Site:
    """What a test of faults has at hand; users' own calls (`account`) do not go through the proxy."""

    azurite: Azurite
    proxy: FaultProxy
    origin: Origin
    account: Account
    models: Path

    def environment(self, **settings: str) -> dict[str, str]:
        """Return a host's settings."""
        return {
            "AzureWebJobsStorage": self.proxy.connection_string,
            "INFERENCE_MODEL_REPOSITORY": str(self.models),
            "INFERENCE_SCORE_SCRIPTS": "true",
            "INFERENCE_FETCH_ALLOW": str_of_allowance(self.origin),
            "INFERENCE_FETCH_HTTP": "true",
            **QUICK,
            **settings,
        }

    @asynccontextmanager
    async def serving(self, *, launcher: Sequence[str] = (), **settings: str) -> AsyncIterator[HostProcess]:
        """Run a host; the proxy answers it meanwhile, so nothing here may block the loop."""
        host = HostProcess(ROOT, environment=self.environment(**settings), launcher=launcher)
        host.launch()
        try:  # also when the test ends while it starts
            await asyncio.to_thread(host.wait_until_listening)
            yield host
        finally:
            self.proxy.heal()
            await asyncio.to_thread(host.stop)

    async def submit(self, batch_id: str, images: Iterable[str | Mapping[str, str]], **fields: Any) -> str:
        """Drop a manifest as any Storage client does, and return the batch's id."""
        await self.account.drop("batch-manifests", json.dumps({"batch_id": batch_id, "images": list(images), **fields}))
        return batch_id

    def texts(self, batch_id: str, count: int, acts: Mapping[int, str] | None = None) -> list[str]:
        """Serve so many texts for the model `actor`; `acts` say what some of them make it do."""
        acts = acts or {}
        return [
            self.origin.serve(f"/{batch_id}/{i}", f"{acts.get(i, 'say')} {i % 7}".encode(), "text/plain")
            for i in range(count)
        ]

    def has_ended(self, batch_id: str) -> bool:
        """Tell whether a batch has its summary, by the tape: asking storage again and again would keep it busy."""
        return f"results/{batch_id}/summary.json" in self.proxy.tape.written

    async def ended(self, *batch_ids: str, seconds: float = DRAIN_SECONDS) -> None:
        """Wait until every one of these batches has its summary."""
        missing = {*batch_ids}

        async def probe() -> bool:
            missing.difference_update([batch_id for batch_id in missing if self.has_ended(batch_id)])
            return not missing

        try:
            await eventually(probe, seconds)
        except AssertionError:
            raise AssertionError(f"no summary of {sorted(missing)}; buried: {await self.buried()}") from None

    async def drained(self, seconds: float = DRAIN_SECONDS) -> None:
        """Wait until no queue of work, and none of poison, holds a message, visible or not."""

        async def is_empty() -> bool:
            for queue in QUEUES:
                if await self.account.message_count(queue):
                    return False
            return True

        try:
            await eventually(is_empty, seconds)
        except AssertionError:
            left = {queue: await self.account.message_count(queue) for queue in QUEUES}
            raise AssertionError(f"the queues do not drain: {left}") from None

    async def blobs(self, container: str, prefix: str) -> dict[str, bytes]:
        """Return blobs by name."""
        client = self.account.blobs.get_container_client(container)
        names = [blob.name async for blob in client.list_blobs(name_starts_with=prefix)]
        return {name: await self.account.read(container, name) or b"" for name in names}

    async def letters(self, batch_id: str) -> list[dict[str, Any]]:
        """Return the dead letters of a batch's items."""
        blobs = await self.blobs("deadletters", f"{batch_id}/")
        return [json.loads(line) for name in sorted(blobs) for line in blobs[name].splitlines()]

    async def buried(self) -> list[dict[str, Any]]:
        """Return the dead letters of messages."""
        return [json.loads(data) for data in (await self.blobs("deadletters", "_manifests/")).values()]


def new_id(name: str) -> str:
    """Return a batch id that was never used."""
    return f"{name}-{uuid.uuid4().hex[:8]}"


def str_of_allowance(origin: Origin) -> str:
    """Return the entry of INFERENCE_FETCH_ALLOW for an origin."""
    return f"{origin.host}/32:{origin.port}"


def serve_pool(origin: Origin, scans: int = 6) -> list[str]:
    """Serve some scans of digits, and one url for each of the permanent failures."""
    chosen: Sequence[Path] = sorted(SCANS.iterdir())[:scans]
    urls = [origin.serve(f"/{scan.name}", scan.read_bytes()) for scan in chosen]
    gone = origin.answer("/gone.png", Reply(404))
    text = origin.serve("/text.png", b"no image")
    return [*urls, gone, text, "https://169.254.169.254/a.png"]
