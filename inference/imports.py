"""Imports of parts that are built when they are first needed: one thread at a time, and not searched for garbage.

Python does not wait for a package that another thread is importing when a submodule of it is asked for: numpy and
onnxruntime, imported by two threads at once, are broken for the rest of the process. And imports make no garbage, but
looking for it takes a tenth of the time that they need. The loop, and threads that load a model meanwhile, do a little
in Python between long calls that need no interpreter: they get it back soon.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: Python's own 5 ms for each time that another thread wants the interpreter add up to as much as a session takes.
_SWITCH_SECONDS = 0.0005

#: A part may build another one.
_turn = threading.RLock()


@contextmanager
def importing() -> Iterator[None]:
    """Wait until no other thread is in here; within, put collections off and let other threads go on soon."""
    with _turn:
        was_enabled, interval = gc.isenabled(), sys.getswitchinterval()
        gc.disable()
        sys.setswitchinterval(_SWITCH_SECONDS)
        try:
            yield
        finally:
            sys.setswitchinterval(interval)
            if was_enabled:
                gc.enable()
