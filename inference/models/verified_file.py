"""A new file that is compared with its manifest while it is written, so that its bytes are read only once.

It refuses to write over anything, and one byte more than the manifest says.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from inference.errors import ModelUnavailable
from inference.models.cache import translate_full_disk
from inference.models.manifest import MANIFEST_NAME, FileDigest, FileStamp, stamp_file


class VerifiedFile:
    """A context manager; who leaves it early leaves an unfinished file behind."""

    def __init__(self, path: Path, expected: FileDigest) -> None:
        self._path = path
        self._expected = expected
        self._digest = hashlib.sha256()
        self._size = 0
        self._descriptor = -1

    def __enter__(self) -> Self:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with translate_full_disk():
            self._descriptor = os.open(self._path, flags, 0o600)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def write(self, chunk: bytes) -> None:
        """Append. Raises ModelUnavailable for more than was expected, InsufficientStorage."""
        self._size += len(chunk)
        if self._size > self._expected.bytes:
            raise self._refusal(f"it has more than the {self._expected.bytes} bytes that {MANIFEST_NAME} says")
        self._digest.update(chunk)
        rest = memoryview(chunk)
        with translate_full_disk():
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def finish(self) -> FileStamp:
        """Return the stamp of the file, which is whole and what was expected. Raises ModelUnavailable."""
        if self._size != self._expected.bytes:
            raise self._refusal(f"it has {self._size} bytes, {MANIFEST_NAME} says {self._expected.bytes}")
        if self._digest.hexdigest() != self._expected.sha256:
            raise self._refusal(f"its sha256 is not the one in {MANIFEST_NAME}")
        return stamp_file(self._descriptor)

    def _refusal(self, reason: str) -> ModelUnavailable:
        return ModelUnavailable(f"{self._path.name}: {reason}.")
