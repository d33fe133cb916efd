"""The storage account behind the service, as a user's own tools see it."""

from __future__ import annotations

import json
from typing import Any

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue import TextBase64EncodePolicy
from azure.storage.queue.aio import QueueServiceClient

from tests.hosting import eventually


class Account:
    """The storage account, as a user's own tools see it."""

    def __init__(self, connection_string: str) -> None:
        self.blobs = BlobServiceClient.from_connection_string(connection_string)
        self.queues = QueueServiceClient.from_connection_string(connection_string)

    async def drop(self, queue: str, body: str) -> None:
        policy = TextBase64EncodePolicy()
        client = self.queues.get_queue_client(queue, message_encode_policy=policy)
        await client.send_message(body, time_to_live=-1)

    async def read(self, container: str, name: str) -> bytes | None:
        try:
            download = await self.blobs.get_blob_client(container, name).download_blob()
            return await download.readall()
        except ResourceNotFoundError:
            return None

    async def summary(self, batch_id: str) -> dict[str, Any]:
        """Wait until the batch is complete."""

        async def probe() -> bytes | None:
            return await self.read("results", f"{batch_id}/summary.json")

        found = await eventually(probe)
        assert found is not None
        summary: dict[str, Any] = json.loads(found)
        return summary

    async def rows(self, batch_id: str) -> list[dict[str, Any]]:
        found = await self.read("results", f"{batch_id}/results.jsonl")
        assert found is not None
        return [json.loads(line) for line in found.splitlines()]

    async def message_count(self, queue: str) -> int:
        properties = await self.queues.get_queue_client(queue).get_queue_properties()
        return properties.approximate_message_count or 0
