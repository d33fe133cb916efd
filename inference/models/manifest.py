"""The manifest of a model version: the sha256 and size of each of its files, computed, written and verified.

It refuses what a manifest cannot vouch for: links, folders, unlisted files, and names that are not plain.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Annotated

import msgspec
import orjson
from msgspec import Meta

from inference.errors import ModelUnavailable
from inference.schema import Misfit, Table, read

MANIFEST_NAME = "manifest.json"
MODEL_NAME = "model.onnx"
SCRIPT_NAME = "score.py"

#: A manifest names a handful of files; this is room for thousands.
MAX_MANIFEST_BYTES = 1 << 20

#: Protobuf cannot hold a message of 2 GiB or more; larger models keep their weights in external-data files.
MAX_MODEL_BYTES = (1 << 31) - 1

#: Hashed at a time. A thread that hashes wants the interpreter back after each piece, and beside one that imports it
#: waits 5 ms for it: with the 256 KiB of `hashlib.file_digest`, a model of 14 MB took a tenth of a second.
_PIECE_BYTES = 8 << 20

_FILE_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,254}\Z")
_SHOWN_CHARACTERS = 80
FileName = Annotated[str, Meta(pattern=_FILE_NAME.pattern)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class FileDigest(Table, frozen=True):
    """What one file must be."""

    sha256: Sha256
    bytes: Annotated[int, Meta(ge=0)]


class Manifest(Table, frozen=True):
    """Every file of a model version but the manifest itself."""

    files: Annotated[dict[FileName, FileDigest], Meta(min_length=1)]

    @property
    def total_bytes(self) -> int:
        """The size of the whole version."""
        return sum(digest.bytes for digest in self.files.values())


#: What `stat` says of a verified file: device, inode, size, and the two times, which a write cannot leave as they were.
FileStamp = tuple[int, int, int, int, int]


def compute_manifest(folder: Path) -> Manifest:
    """Return the manifest of the files that are in `folder` now. Raises ModelUnavailable for what cannot be listed."""
    return _parsed({"files": {name: _digest(folder / name) for name in sorted(_names(folder) - {MANIFEST_NAME})}})


def write_manifest(folder: Path) -> Manifest:
    """Compute and write the manifest of `folder`, which publishes the version; a reader sees it whole or not at all."""
    manifest = compute_manifest(folder)
    partial = folder.parent / f".{folder.name}.{MANIFEST_NAME}.{os.getpid()}"
    partial.write_text(msgspec.json.format(msgspec.json.encode(manifest), indent=2).decode() + "\n", encoding="utf-8")
    partial.replace(folder / MANIFEST_NAME)
    return manifest


def read_manifest_bytes(folder: Path) -> bytes:
    """Return the manifest as it lies in `folder`. Raises ModelUnavailable."""
    return _read(folder / MANIFEST_NAME, MAX_MANIFEST_BYTES)


def parse_manifest(data: bytes) -> Manifest:
    """Return the manifest in `data`. Raises ModelUnavailable that says what is wrong in it."""
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise ModelUnavailable(f"{MANIFEST_NAME}: it is not JSON: {exc.msg} at character {exc.pos}.") from exc
    manifest = _parsed(content)
    if MANIFEST_NAME in manifest.files:
        raise ModelUnavailable(f"{MANIFEST_NAME}: it cannot list itself.")
    return manifest


def verify_files(folder: Path, manifest: Manifest) -> dict[str, FileStamp]:
    """Compare every file of `folder` with its manifest, reading each as a stream, and return their stamps.

    Raises ModelUnavailable for a file that is missing, not listed, a link, or has another size or sha256. External data
    of an ONNX model is thereby covered: onnxruntime reads it from this folder only, where everything is listed.
    """
    for name in sorted(_names(folder) - {MANIFEST_NAME} - manifest.files.keys()):
        raise ModelUnavailable(f"{name}: it is not listed in {MANIFEST_NAME}.")
    return {name: _verify_file(folder / name, digest) for name, digest in manifest.files.items()}


def check_sizes(manifest: Manifest) -> None:
    """Raise ModelUnavailable when there is no model among the files, or one that cannot be an ONNX file."""
    model = manifest.files.get(MODEL_NAME)
    if model is None and SCRIPT_NAME in manifest.files:
        return  # the script knows what it loads
    if model is None:
        raise ModelUnavailable(f"{MANIFEST_NAME}: it lists no {MODEL_NAME}.")
    if not 0 < model.bytes <= MAX_MODEL_BYTES:
        raise ModelUnavailable(f"{MODEL_NAME}: {model.bytes} bytes is not a size that an ONNX file can have.")


def verify_unchanged(folder: Path, stamps: Mapping[str, FileStamp]) -> None:
    """Raise ModelUnavailable when a file was written or replaced since it was verified."""
    for name, stamp in stamps.items():
        with _open(folder / name) as file:
            if stamp_file(file.fileno()) != stamp:
                raise ModelUnavailable(f"{name}: it changed while it was being loaded.")


def read_listed_file(folder: Path, manifest: Manifest, name: str, *, max_bytes: int) -> bytes:
    """Return the content of a small listed file, verified in the same read. Raises ModelUnavailable."""
    digest = manifest.files.get(name)
    if digest is None:
        raise ModelUnavailable(f"{name}: it is not listed in {MANIFEST_NAME}.")
    data = _read(folder / name, max_bytes)
    if len(data) != digest.bytes or hashlib.sha256(data).hexdigest() != digest.sha256:
        raise ModelUnavailable(f"{name}: its content is not what {MANIFEST_NAME} says.")
    return data


def stamp_file(descriptor: int) -> FileStamp:
    """Return the stamp of an open file."""
    status = os.fstat(descriptor)
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _verify_file(path: Path, expected: FileDigest) -> FileStamp:
    with _open(path) as file:
        before = stamp_file(file.fileno())
        size = before[2]
        if size != expected.bytes:
            raise ModelUnavailable(f"{path.name}: it has {size} bytes, {MANIFEST_NAME} says {expected.bytes}.")
        if _sha256(file) != expected.sha256:
            raise ModelUnavailable(f"{path.name}: its sha256 is not the one in {MANIFEST_NAME}.")
        return before


def _digest(path: Path) -> dict[str, str | int]:
    with _open(path) as file:
        return {"sha256": _sha256(file), "bytes": stamp_file(file.fileno())[2]}


def _sha256(file: BufferedReader) -> str:
    found = hashlib.sha256()
    piece = memoryview(bytearray(min(_PIECE_BYTES, stamp_file(file.fileno())[2] + 1)))
    while size := file.readinto(piece):
        found.update(piece[:size])
    return found.hexdigest()


def _names(folder: Path) -> set[str]:
    try:
        return {path.name for path in folder.iterdir()}
    except OSError as exc:
        raise ModelUnavailable(f"The version's folder cannot be read: {exc.strerror}.") from exc


def _read(path: Path, max_bytes: int) -> bytes:
    with _open(path) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ModelUnavailable(f"{path.name}: it is larger than {max_bytes} bytes.")
    return data


@contextmanager
def _open(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file that has no other name: what was verified must not be changeable through a link."""
    # O_NONBLOCK: opening a FIFO must not wait for its writer.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags)
    except OSError as exc:
        raise ModelUnavailable(f"{path.name}: it cannot be opened as a plain file: {exc.strerror}.") from exc
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ModelUnavailable(f"{path.name}: it is not a plain file.")
        if status.st_nlink != 1:
            raise ModelUnavailable(f"{path.name}: it is a hard link.")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def _parsed(content: object) -> Manifest:
    try:
        return read(Manifest, content)
    except Misfit as exc:
        raise ModelUnavailable(f"{MANIFEST_NAME}: {_find_entry(content) or exc}.") from exc


def _find_entry(content: object) -> str | None:
    """Return which file's entry is wrong and how, which the schema does not say of keys that may be any."""
    files = content.get("files") if isinstance(content, dict) else None
    for name, digest in files.items() if isinstance(files, dict) else ():
        shown = name[:_SHOWN_CHARACTERS]
        if not _FILE_NAME.match(name):
            return f"files: {shown!r}: a name has letters, digits, dots, dashes and underscores, and no dot first"
        try:
            read(FileDigest, digest, under=f"files.{shown}")
        except Misfit as exc:
            return str(exc)
    return None
