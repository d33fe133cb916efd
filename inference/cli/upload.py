"""A manifest of any size put straight into the storage account: the file as a blob, then the message on the queue.

It refuses to be imported before it is needed: the storage SDK takes a good part of a second to load.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from inference.batch.account import Account
from inference.batch.expand import check_same
from inference.batch.layout import UPLOADS, ContainerName, QueueName
from inference.batch.messages import ManifestMessage
from inference.batch.ports import Stores
from inference.batch.record import Records, Ticket
from inference.batch.source import open_source
from inference.cli.account import parse_storage
from inference.cli.failure import Failure, WrongCall
from inference.cli.output import progress_bytes
from inference.cli.submission import Submission, choose_batch_id, read_chunks
from inference.errors import (
    BatchConflict,
    InferenceError,
    InvalidManifest,
    NotFound,
    SettingsError,
    StorageForbidden,
)
from inference.settings import BatchSettings, StorageSettings
from inference.storage import ABSENT, MAX_MESSAGE_BYTES, PreconditionFailed
from inference.storage.azure import AzureStorage


def upload(submission: Submission, storage: str) -> dict[str, Any]:
    """Submit by way of `storage`, a connection string or an account's name; return `{"batch_id"}`.

    The same file under the same batch id is uploaded once. Raises Failure, WrongCall.
    """
    batch_id = choose_batch_id(submission)
    try:
        asyncio.run(_upload(submission, parse_storage(storage), batch_id))
    except SettingsError as exc:
        raise WrongCall(f"--storage: {exc}") from None
    except (BatchConflict, InvalidManifest, NotFound) as exc:
        raise WrongCall(f"{exc.message} ({exc.code})") from None
    except InferenceError as exc:
        raise Failure(f"{exc.message} ({exc.code})") from None
    return {"batch_id": batch_id}


async def _upload(submission: Submission, settings: StorageSettings, batch_id: str) -> None:
    fields = {**submission.fields, "batch_id": batch_id}
    async with AzureStorage.connect(settings) as account:
        if submission.file:
            fields["manifest"] = await _write_file(account, submission, batch_id)
        message = ManifestMessage.of(fields)
        body = message.encode()
        if len(body) > MAX_MESSAGE_BYTES:
            raise WrongCall("The message is too large for a queue; give its images a line each (JSON Lines).")
        stores = Stores(**{name.value: account.blobs(name) for name in ContainerName})
        records = Records(stores)
        record = None
        with suppress(StorageForbidden):
            record = await records.find(batch_id)
        if record is not None:
            # Raises BatchConflict when it has other content: who waits would be told of that one.
            source = await open_source(message, stores.manifests, Account(account.blob_endpoint, account.blobs))
            await check_same(record, message, source, BatchSettings().max_manifest_items)
        async with _ticket(records, batch_id, is_needed=record is None):
            await account.queue(QueueName.MANIFESTS).send(body)


@asynccontextmanager
async def _ticket(records: Records, batch_id: str, *, is_needed: bool) -> AsyncIterator[None]:
    """Let the batch be known before its manifest is read, however long that takes; not when no message was sent.

    As for a submission over HTTP. Without it where the caller has rights on the queue alone, which suffice.
    """
    ticket = Ticket(batch_id=batch_id, digest=None, total=0, created_at=datetime.now(UTC).isoformat())
    is_mine = False
    if is_needed:
        with suppress(StorageForbidden):
            is_mine = await records.create_ticket(ticket)
    try:
        yield
    except BaseException:
        if is_mine:
            await records.drop_ticket(batch_id)
        raise


async def _write_file(account: AzureStorage, submission: Submission, batch_id: str) -> str:
    """Write the file to the container manifests unless it is there, and return its name."""
    if submission.file is None:
        raise ValueError("this submission has no file")
    # Named by its content: a second try finds the first one's blob instead of writing under its reader.
    name = f"{UPLOADS}{batch_id}/{submission.sha256[:16]}{submission.file.suffix.lower()}"
    blobs = account.blobs(ContainerName.MANIFESTS)
    if await blobs.properties(name) is None:
        size = submission.file.stat().st_size
        # PreconditionFailed: somebody else put it there meanwhile.
        with progress_bytes("Uploading", size) as advance, suppress(PreconditionFailed):
            await blobs.write_stream(name, read_chunks(submission.file, advance), if_match=ABSENT)
    return name
