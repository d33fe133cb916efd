"""Owns where a worker's log records go: to standard error, which the host relays to its console line by line."""

import logging
import os
import sys


class _FailedInvocation(logging.Filter):
    """Drops the library worker's own line about a failed invocation: the host reports it with its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.msg != "Native invocation failed"


def configure_logging() -> None:
    """Log INFO and above (DEBUG with PYTHON_ENABLE_DEBUG_LOGGING) as the Azure worker does, without its chatter."""
    debug = os.environ.get("PYTHON_ENABLE_DEBUG_LOGGING", "").lower() in {"1", "true"}
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_FailedInvocation())
    root = logging.getLogger()
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    root.addHandler(handler)
    logging.getLogger("azure.functions").setLevel(logging.DEBUG if debug else logging.WARNING)
    # print() in a function is relayed line by line instead of when a pipe's buffer happens to be full.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
