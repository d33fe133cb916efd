"""Where compute runs: cores, admission, and threads of its own; never the event loop or the worker's shared pool."""

from inference.engine.cores import available_cores
from inference.engine.engine import Engine, Permit

__all__ = ["Engine", "Permit", "available_cores"]
