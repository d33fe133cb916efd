"""The private folder that versions from a blob container are kept in: whole versions only, bounded by bytes.

It refuses to drop a version that any process uses, and to know where the files come from. Several processes may share
one folder; an entry's name is the sha256 of its manifest, so equal versions are one entry, whatever they are called.

A lock on a folder's inode says that somebody uses it: it survives renaming and ends with its process, however that
ends. Whoever fills a folder locks it alone; who uses it shares the lock; who cannot lock it alone may not remove it.
Reserving, publishing and evicting happen under the lock of the cache folder itself.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from inference.errors import InsufficientStorage, ModelUnavailable
from inference.models.manifest import MANIFEST_NAME

_ENTRY = re.compile(r"[0-9a-f]{64}")
_PARTIAL = re.compile(r"partial-(?P<key>[0-9a-f]{64})-(?P<bytes>\d+)-[0-9a-f]+")
_DROPPED = "dropped-"

#: What the system says when there is no room: disk full, quota, and the limit on a file's size.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Lease:
    """The right to use a folder of the cache; it stays until `close`, which any thread may call, more than once."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor

    def close(self) -> None:
        """Give it back."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


class VersionCache:
    """Whole versions by the sha256 of their manifest, the least recently opened dropped first."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def open(self, key: str) -> Lease | None:
        """Return the entry of that key, or None when there is none; it may still have to be verified.

        There is none in another user's folder, which `reserve` refuses: what was verified there could be renamed away,
        and back once another file was loaded.
        """
        if not _is_own(self._folder):
            return None
        path = self._folder / key
        descriptor = _try_lock(path, fcntl.LOCK_SH)
        if descriptor is None:
            return None
        if not (path / MANIFEST_NAME).exists():
            os.close(descriptor)
            return None
        os.utime(descriptor)
        return Lease(path, descriptor)

    def reserve(self, key: str, size: int) -> Lease | None:
        """Make room and return an empty private folder to fill; None while another process fills that entry, or since
        it has: who saw none a moment ago would fetch it a second time.

        Raises ModelUnavailable when `size` bytes can never fit, InsufficientStorage when the versions in use leave no
        room, or the disk has none.
        """
        if size > self._max_bytes:
            raise ModelUnavailable(f"its {size} bytes are more than the model cache may hold ({self._max_bytes}).")
        with translate_full_disk(), self._locked():
            fillings = self._live_fillings()
            if key in (filling["key"] for filling in fillings) or (self._folder / key / MANIFEST_NAME).exists():
                return None
            self._evict(self._max_bytes - size - sum(int(filling["bytes"]) for filling in fillings))
            path = self._folder / f"partial-{key}-{size}-{secrets.token_hex(4)}"
            path.mkdir(mode=0o700)
            descriptor = _try_lock(path, fcntl.LOCK_EX)
            if descriptor is None:
                raise ModelUnavailable("the model cache is being removed.")
            return Lease(path, descriptor)

    def publish(self, filled: Lease, key: str) -> Lease:
        """Make a filled folder the entry of that key and return it; where there is one already, return that."""
        with translate_full_disk(), self._locked():
            existing = self.open(key)
            if existing is not None:
                self.abandon(filled)
                return existing
            self._drop(self._folder / key)  # an entry without a manifest: half of it was lost
            path = filled.path.rename(self._folder / key)
            descriptor = filled._descriptor
            if descriptor is None:
                raise ValueError("the folder was abandoned")
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            filled.path = path
            return filled

    def abandon(self, filled: Lease) -> None:
        """Remove a folder that was not filled."""
        shutil.rmtree(filled.path, ignore_errors=True)
        filled.close()

    def discard(self, lease: Lease, key: str) -> None:
        """Remove an entry that turned out to be damaged; who has it open keeps what it has read."""
        with self._locked():
            if _is_same(lease, self._folder / key):
                self._drop(self._folder / key)
        lease.close()

    def _evict(self, allowed: int) -> None:
        """Drop the least recently opened entries until the rest has at most `allowed` bytes."""
        entries = [path for path in self._folder.iterdir() if _ENTRY.fullmatch(path.name)]
        sizes = {path: _size(path) for path in entries}
        excess = sum(sizes.values()) - allowed
        for path in sorted(entries, key=_opened_at):
            if excess <= 0:
                return
            descriptor = _try_lock(path, fcntl.LOCK_EX)
            if descriptor is not None:
                self._drop(path)
                os.close(descriptor)
                excess -= sizes[path]
        if excess > 0:
            raise InsufficientStorage("The model cache is full of versions that are in use.")

    def _live_fillings(self) -> list[re.Match[str]]:
        """Return what is being filled; remove what dead processes left."""
        live = []
        for path in self._folder.iterdir():
            partial = _PARTIAL.fullmatch(path.name)
            descriptor = _try_lock(path, fcntl.LOCK_EX) if partial else None
            if partial and descriptor is None:
                live.append(partial)
            elif partial or path.name.startswith(_DROPPED):
                shutil.rmtree(path, ignore_errors=True)
            if descriptor is not None:
                os.close(descriptor)
        return live

    def _drop(self, path: Path) -> None:
        """Remove an entry so that no one can open half of it."""
        doomed = self._folder / f"{_DROPPED}{secrets.token_hex(8)}"
        with suppress(FileNotFoundError):
            path.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(_private(self._folder), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


@contextmanager
def translate_full_disk() -> Iterator[None]:
    """Raise InsufficientStorage where the system says that there is no room, ModelUnavailable for what else it says."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _NO_ROOM:
            raise InsufficientStorage from exc
        raise ModelUnavailable(f"the model cache cannot be written: {exc.strerror}.") from exc


def _private(folder: Path) -> Path:
    """Make the folder, and refuse one that somebody else could put models into: temp folders are shared."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_own(folder):
        raise ModelUnavailable("the model cache's folder belongs to another user.")
    if folder.lstat().st_mode & 0o077:
        folder.chmod(0o700)
    return folder


def _is_own(folder: Path) -> bool:
    try:
        return folder.lstat().st_uid == os.geteuid()
    except OSError:
        return False


def _try_lock(path: Path, kind: int) -> int | None:
    """Return a descriptor that locks the folder at `path`; None when it is gone or locked otherwise."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        # It may have been dropped between opening and locking; then the path leads elsewhere.
        if os.path.samestat(os.fstat(descriptor), path.lstat()):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _is_same(lease: Lease, path: Path) -> bool:
    try:
        return lease._descriptor is not None and os.path.samestat(os.fstat(lease._descriptor), path.lstat())
    except OSError:
        return False


def _size(entry: Path) -> int:
    with suppress(OSError):
        return sum(file.lstat().st_size for file in entry.iterdir())
    return 0


def _opened_at(entry: Path) -> float:
    with suppress(OSError):
        return entry.stat().st_mtime
    return 0.0
