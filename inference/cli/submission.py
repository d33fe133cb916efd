"""What `onnxfn batch submit` was given, checked before anything is sent: a fault is named with its line.

It refuses to send: `inference.cli.batch` posts it, or `inference.cli.upload` puts it into the account.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from inference.batch.manifest import read_item, read_items
from inference.batch.messages import ManifestMessage, read_json
from inference.cli.failure import WrongCall
from inference.cli.output import progress_bytes
from inference.errors import InvalidManifest
from inference.settings import RequestLimits

#: What the service takes in one request unless INFERENCE_MAX_BODY_BYTES says otherwise; storage has no such limit.
MAX_HTTP_BYTES = RequestLimits().max_body_bytes
_CHUNK_BYTES = 1024 * 1024

type Options = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Submission:
    """A checked manifest: a whole message, or a file of lines and the message's other fields."""

    #: Fields of the message; without `images` and `manifest` when there is a file.
    fields: Options
    file: Path | None = None
    sha256: str = ""


def read_submission(manifest: str, options: Options) -> Submission:
    """Check what `manifest` names: a file, or the url of a blob of the service's account. Raises WrongCall."""
    _check_options(options)
    try:
        if "://" in manifest:
            return Submission(_check_message({**options, "manifest": manifest}))
        path = Path(manifest)
        if not path.is_file():
            raise WrongCall(f"There is no file {manifest}.")
        if _is_message(path):
            value = read_json(path.read_bytes())
            return Submission(_check_message({**value, **options} if isinstance(value, dict) else value))
        return Submission(options, path, asyncio.run(_check_lines(path)))
    except InvalidManifest as exc:
        raise WrongCall(f"{manifest}: {exc.message}") from None


class HttpBody(NamedTuple):
    """A request to `POST /batches`."""

    data: bytes
    content_type: str
    query: Options


def encode_for_http(submission: Submission) -> HttpBody | None:
    """Return the request, or None when it is too large for one. A file goes as it is, which the service streams."""
    if submission.file is None:
        data = orjson.dumps(submission.fields)
        return HttpBody(data, "application/json", {}) if len(data) <= MAX_HTTP_BYTES else None
    if submission.file.stat().st_size > MAX_HTTP_BYTES:
        return None
    return HttpBody(submission.file.read_bytes(), "application/octet-stream", submission.fields)


def choose_batch_id(submission: Submission) -> str:
    """Return the batch id that was given, else a new one that begins like the file's name."""
    given = submission.fields.get("batch_id")
    if given:
        return str(given)
    stem = submission.file.name.partition(".")[0].lower() if submission.file else "batch"
    readable = re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:40] or "batch"
    return f"{readable}-{secrets.token_hex(4)}"


async def read_chunks(path: Path, advance: Callable[[int], None]) -> AsyncIterator[bytes]:
    """Yield the file's bytes, telling `advance` how many."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
            advance(len(chunk))


def _is_message(path: Path) -> bool:
    """Tell a JSON message, perhaps over many lines, from JSON Lines: by the first line, whatever the file's name."""
    with path.open("rb") as file:
        line = next((line for line in file if line.strip()), b"").removeprefix(b"\xef\xbb\xbf").strip()
    if not line.startswith(b"{"):
        return False
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return path.suffix.lower() == ".json" or line == b"{"
    return "images" in value or "manifest" in value


def _check_options(options: Options) -> None:
    """Raise WrongCall for an option that no message may have, by the option's name."""
    try:
        _check_message({**options, "images": ["https://host/"]})
    except InvalidManifest as exc:
        name, colon, reason = exc.message.partition(":")
        raise WrongCall(f"--{name.replace('_', '-')}{colon}{reason}") from None


def _check_message(value: Any) -> Options:
    """Return the message's fields. Raises InvalidManifest."""
    if not isinstance(value, dict):
        raise InvalidManifest("A manifest message is a JSON object.")
    message = ManifestMessage.of(value)
    for index, image in enumerate(message.images or ()):
        read_item(image, f"images.{index}")
    return value


async def _check_lines(path: Path) -> str:
    """Read every line and return the file's SHA-256. Raises InvalidManifest."""
    content = hashlib.sha256()
    total = 0
    with progress_bytes("Checking", path.stat().st_size) as advance:

        async def read_and_hash() -> AsyncIterator[bytes]:
            async for chunk in read_chunks(path, advance):
                content.update(chunk)
                yield chunk

        async for items in read_items(read_and_hash()):
            total += len(items)
    if not total:
        raise InvalidManifest("The manifest has no images.")
    return content.hexdigest()
