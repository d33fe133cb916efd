"""What a file is that was taken for an ONNX model: onnxruntime says of each such mistake that its parser failed.

It refuses to judge a model: only a file that onnxruntime has refused is shown to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

#: By how it begins, in one way or several; the number is where that stands.
_KINDS: tuple[tuple[int, bytes | tuple[bytes, ...], str], ...] = (
    (0, b"version https://git-lfs", "a pointer of Git LFS, not the model, which `git lfs pull` fetches"),
    (0, b"PK\x03\x04", "a zip archive, as PyTorch and Keras save theirs; export the model to ONNX"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras saves; export the model to ONNX"),
    (0, (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), "a Python pickle; export the model to ONNX"),
    (0, b"\x1f\x8b", "packed with gzip; unpack it"),
    (0, b"<", "a page of HTML or XML, as a site to sign in answers a download with"),
    (0, b"{", "a JSON document, as a service answers a download with that fails"),
    (4, b"ORTM", "in onnxruntime's own format (.ort); give the .onnx that it was made from"),
    (4, b"TFL3", "a model of TensorFlow Lite; convert it to ONNX"),
)
_READ_BYTES = 64
_MAX_FIELDS = 10_000

#: The fields of ONNX's ModelProto that are bytes with a length before them, and those that are a number.
_BYTES_FIELDS = frozenset({2, 3, 4, 6, 7, 8, 14, 20, 25, 26})
_NUMBER_FIELDS = frozenset({1, 5})
_NUMBER, _BYTES = 0, 2


def name_mistake(path: Path) -> str | None:
    """Return what the file is, of which onnxruntime did not say it: nothing, another format, or half of a model."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            beginning = file.read(_READ_BYTES)
            if not beginning:
                return "it is empty."
            for offset, mark, kind in _KINDS:
                if beginning.startswith(mark, offset):
                    return f"it is {kind}."
            file.seek(0)
            missing = _count_missing(file, size)
    except OSError:
        return None
    return f"it ends {missing} bytes too early; it was not copied or downloaded whole." if missing else None


def _count_missing(file: BinaryIO, size: int) -> int:
    """Return how many bytes the field lacks in which the file ends; 0 where none does, or it is no model at all."""
    for _ in range(_MAX_FIELDS):
        tag = _read_varint(file)
        if tag is None:
            return 0
        field, kind = tag >> 3, tag & 7
        value = _read_varint(file)
        if value is None or field not in {_NUMBER: _NUMBER_FIELDS, _BYTES: _BYTES_FIELDS}.get(kind, ()):
            return 0
        if kind == _BYTES and (end := file.tell() + value) > size:
            return end - size
        if kind == _BYTES:
            file.seek(value, 1)
    return 0


def _read_varint(file: BinaryIO) -> int | None:
    """Return the next number as protobuf writes it; None at the file's end, or where none stands."""
    value = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None
