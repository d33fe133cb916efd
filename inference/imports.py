"""Imports that are not searched for garbage: they make none, and looking takes a tenth of the time that they need."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_under_way = 0


@contextmanager
def importing() -> Iterator[None]:
    """Put collections off within; what is there at the end stays, and no collection looks at it again.

    Threads may import at the same time: collections go on once none does.
    """
    global _under_way
    with _lock:
        _under_way += 1
        gc.disable()
    try:
        yield
    finally:
        with _lock:
            _under_way -= 1
            if not _under_way:
                gc.freeze()
                gc.enable()
