"""Staying with a batch until it has ended, with a progress bar; it refuses to give up over one failed look."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from inference.cli.client import Client, Refused, Route, Unreachable

_ENDED = frozenset({"succeeded", "failed", "cancelled"})
_FIRST_DELAY_SECONDS = 0.25
_LONGEST_DELAY_SECONDS = 5.0
#: Looks that may fail in a row (a restart, a redeployment) before the wait is given up: about half a minute.
_FAILURES_IN_A_ROW = 10


def watch(client: Client, batch_id: str, *, sleep: Callable[[float], None] = time.sleep) -> dict[str, Any]:
    """Return the batch's status once it has ended, showing a progress bar on a terminal.

    A batch whose ticket `--storage` had no right to write is unknown (404) until the service has read its manifest, so
    that is waited for too.
    Raises Refused or Unreachable after many failures in a row.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    delay, failures = _FIRST_DELAY_SECONDS, 0
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task(batch_id, total=None)
        while True:
            try:
                status = client.read_json(str(Route("batches", batch_id)))
                failures = 0
                progress.update(bar, total=status["total"] or None, completed=status["total"] - status["pending"])
                if status["state"] in _ENDED:
                    return status
            except (Refused, Unreachable) as failure:
                failures += 1
                if failures > _FAILURES_IN_A_ROW or not _may_pass(failure):
                    raise
            sleep(delay)
            delay = min(delay * 1.5, _LONGEST_DELAY_SECONDS)


def _may_pass(failure: Refused | Unreachable) -> bool:
    return isinstance(failure, Unreachable) or failure.status in {404, 429} or failure.status >= 500
