"""Imports of parts that are built when they are first needed: one thread at a time, and not searched for garbage.

Python does not wait for a package that another thread is importing when a submodule of it is asked for: numpy and
onnxruntime, imported by two threads at once, are broken for the rest of the process. And imports make no garbage, but
looking for it takes a tenth of the time that they need.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: A part may build another one.
_turn = threading.RLock()


@contextmanager
def importing() -> Iterator[None]:
    """Wait until no other thread is in here, and put collections off within."""
    with _turn:
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if was_enabled:
                gc.enable()
