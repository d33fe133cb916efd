"""Owns the non-trigger bindings: blobs read for a function, messages and blobs written from what it gave.

It refuses to swallow an error of Storage: the invocation fails with it, as on the real host.
"""

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob.aio import ContainerClient
from azure.storage.queue.aio import QueueClient

from devhost.binding_expressions import BindingData, resolve
from devhost.errors import ConfigurationError
from devhost.functions import Binding, Function
from devhost.messages import Outcome, Value
from devhost.storage_clients import StorageClients


class DataBindings:
    """Blob and queue bindings over an app's Storage connections.

    `enqueued` is called with the url of a queue that a message was put on, so that a listener of this host wakes up.
    """

    def __init__(self, clients: StorageClients, *, is_base64: bool, enqueued: Callable[[str], None]) -> None:
        self._clients = clients
        self._is_base64 = is_base64
        self._enqueued = enqueued

    async def read_inputs(self, function: Function, data: BindingData) -> list[tuple[str, Value]]:
        """Read the blobs that a function's input bindings name; a missing blob is nothing (None in Python)."""
        return [(binding.name, await self._read_blob(binding, data)) for binding in function.inputs]

    async def write_outputs(self, function: Function, outcome: Outcome, data: BindingData) -> None:
        """Send what a function gave to its output bindings; None is not sent."""
        for binding in function.outputs:
            value = outcome.returned if binding.name == "$return" else outcome.outputs.get(binding.name)
            if value is None or value.kind is None:
                continue
            if binding.type == "queue":
                await self._enqueue(binding, value, data)
            else:
                await self._write_blob(binding, value, data)

    def _blob(self, binding: Binding, data: BindingData) -> tuple[ContainerClient, str]:
        container, _, name = resolve(str(binding.properties["path"]), data).partition("/")
        if not container or not name:
            raise ConfigurationError(f"'{binding.properties['path']}' is not a blob path (container/name).")
        return self._clients.container(binding.properties.get("connection"), container), name

    async def _read_blob(self, binding: Binding, data: BindingData) -> Value:
        container, name = self._blob(binding, data)
        try:
            download = await container.download_blob(name)
            return Value("bytes", await download.readall())
        except ResourceNotFoundError:
            return Value(None, None)

    async def _write_blob(self, binding: Binding, value: Value, data: BindingData) -> None:
        container, name = self._blob(binding, data)
        content = value.data if isinstance(value.data, bytes) else str(value.data).encode()
        try:
            await container.upload_blob(name, content, overwrite=True)
        except ResourceNotFoundError:
            await create_if_missing(container.create_container)
            await container.upload_blob(name, content, overwrite=True)

    async def _enqueue(self, binding: Binding, value: Value, data: BindingData) -> None:
        name = resolve(str(binding.properties["queueName"]), data)
        queue = self._clients.queue(binding.properties.get("connection"), name)
        for body in message_bodies(value):
            text = b64encode(body).decode() if self._is_base64 else body.decode()
            await send_creating_queue(queue, text)
        self._enqueued(queue.url)


async def send_creating_queue(queue: QueueClient, text: str) -> None:
    """Send a message, creating the queue when it is missing (AddMessageAndCreateIfNotExists)."""
    try:
        await queue.send_message(text)
    except ResourceNotFoundError:
        await create_if_missing(queue.create_queue)
        await queue.send_message(text)


async def create_if_missing(create: Callable[[], Any]) -> None:
    """Create a queue or container that another process may create at the same time."""
    try:
        await create()
    except ResourceExistsError:
        return


def message_bodies(value: Value) -> list[bytes]:
    """Return the bodies to enqueue: one for text or bytes, one for each item of a list.

    >>> message_bodies(Value("json", '["a", {"id": null, "body": "b"}]'))
    [b'a', b'b']
    """
    if value.kind == "bytes":
        return [value.data]
    if value.kind != "json":
        return [str(value.data).encode()]
    document = json.loads(value.data)
    return [_message_body(item) for item in (document if isinstance(document, list) else [document])]


def _message_body(item: Any) -> bytes:
    if isinstance(item, str):
        return item.encode()
    if isinstance(item, dict) and set(item) == {"id", "body"}:  # how azure.functions encodes a QueueMessage
        return str(item["body"]).encode()
    return json.dumps(item).encode()
