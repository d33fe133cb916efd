"""Owns manifests that came in a message and are too long for one: kept as a blob, to which a message points."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress

import orjson

from inference.batch import layout
from inference.storage import ABSENT, BlobStore, PreconditionFailed


async def keep_payload(manifests: BlobStore, batch_id: str, payload: bytes) -> str:
    """Write a manifest under a name that only this content has, and return its path."""
    path = f"{layout.UPLOADS}{batch_id}/{hashlib.sha256(payload).hexdigest()[:16]}"
    with suppress(PreconditionFailed):
        await manifests.write(path, payload, if_match=ABSENT)
    return path


async def keep_images(manifests: BlobStore, batch_id: str, images: Sequence[object]) -> str:
    """Write a message's own images as JSON Lines, and return the path."""
    return await keep_payload(manifests, batch_id, await asyncio.to_thread(_write_lines, images))


def _write_lines(images: Sequence[object]) -> bytes:
    # Objects all: a line that is a text alone could be taken for the header of a table.
    return b"\n".join(orjson.dumps({"url": image} if isinstance(image, str) else image) for image in images)
