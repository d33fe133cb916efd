"""The C library's heap, kept small; it refuses to fail where that library is another one than glibc.

onnxruntime reads a whole model, copies its weights into the layout it runs with and frees the rest; glibc keeps what
was freed. Of MobileNetV2's session that is 20 MB (measured with onnxruntime 1.31, glibc 2.36).
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Any

_M_ARENA_MAX = -8  # malloc.h


def share_one_heap() -> None:
    """Have threads that have no heap yet share those that there are; call it before there are many.

    Each has one of its own otherwise, whose last free block is never given back; finding MobileNetV2's plan leaves
    14 MB so. Nothing that is computed waits for the heap: speed at 1 and 8 connections is the same.
    """
    _call("mallopt", _M_ARENA_MAX, 1)


def give_back_freed_memory() -> None:
    """Return free pages of every heap to the system; a few milliseconds."""
    _call("malloc_trim", 0)


def _call(function: str, *arguments: Any) -> None:
    # musl and macOS have no such functions.
    with suppress(OSError, AttributeError):
        getattr(ctypes.CDLL(None), function)(*arguments)
