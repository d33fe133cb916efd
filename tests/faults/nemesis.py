"""The one who breaks things at random, by a seed: processes and storage, at moments counted in calls, not seconds.

It refuses to judge what comes of it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from contextlib import AsyncExitStack, suppress
from random import Random
from types import TracebackType
from typing import Self

from tests.faults import proxy
from tests.faults.proxy import Fault
from tests.faults.site import WIDE, Site
from tests.hosting import HostProcess, wake

_FAULTS: dict[str, Fault] = {
    "500": proxy.answer(500, "InternalError"),
    "503": proxy.answer(503, "ServerBusy", retry_after=1),
    "403": proxy.answer(403, "AuthenticationFailed"),
    "reset before": proxy.reset_before,
    "reset after": proxy.reset_after,
    "cut": proxy.truncate,
    "twice": proxy.duplicate,
    "slow": proxy.delay(0.2),
}
_OPERATIONS = (
    "GET blob",
    "PUT blob",
    "HEAD blob",
    "DELETE blob",
    "POST queue",
    "GET queue",
    "PUT queue",
    "DELETE queue",
)
#: How often each is drawn: most of what happens to a service is storage.
_DRAWS = {"storage": 16, "kill a worker": 2, "pause a container": 2, "kill a container": 1}
#: Calls before a stroke, so that it falls anywhere.
_CALLS_BETWEEN = (0, 60)


class Nemesis:
    """Two hosts and the harm done to them: `async with Nemesis(site, rng) as nemesis: await nemesis.strike()`."""

    def __init__(self, site: Site, rng: Random) -> None:
        self._site = site
        self._rng = rng
        self._hosts: list[HostProcess] = []
        self._stack = AsyncExitStack()
        #: What was done how often, for whoever reads the log of a failure.
        self.done: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        for _ in range(2):
            settings = {**WIDE, "INFERENCE_MAX_ATTEMPTS": "10"}
            self._hosts.append(await self._stack.enter_async_context(self._site.serving(**settings)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def strike(self) -> None:
        """Wait for some calls, then do one thing."""
        await self._site.proxy.wait_for_calls(self._rng.randint(*_CALLS_BETWEEN))
        what = self._rng.choices([*_DRAWS], [*_DRAWS.values()])[0]
        host = self._rng.choice(self._hosts)
        match what:
            case "storage":
                what = self._break_storage()
            case "kill a worker":
                for pid in host.worker_pids[:1]:
                    with suppress(ProcessLookupError):  # it is ending already, of the stroke before
                        os.kill(pid, signal.SIGKILL)
            case "pause a container":
                await self._pause(host)
            case "kill a container":
                await asyncio.to_thread(host.kill)
                await asyncio.to_thread(host.start)
        self.done[what] += 1

    def _break_storage(self) -> str:
        name, operation = self._rng.choice([*_FAULTS]), self._rng.choice(_OPERATIONS)
        # Polling is most of what queues are asked, so what is to meet the product must not be spent on that.
        path = "batch" if operation.endswith("queue") else ""
        self._site.proxy.add(_FAULTS[name], operation, path=path, times=self._rng.randint(1, 6))
        return f"{name} on {operation}"

    async def _pause(self, host: HostProcess) -> None:
        """Freeze a container while the other goes on, perhaps past its leases."""
        pids = host.pause()
        try:
            await self._site.proxy.wait_for_calls(self._rng.randint(50, 600))
        finally:
            wake(pids)
