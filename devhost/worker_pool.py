"""Owns the set of workers: starts them, spreads invocations over them, replaces the dead, drains them at the end."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from devhost import console
from devhost.errors import FunctionTimedOut, HostNotRunning, WorkerLost
from devhost.functions import Function
from devhost.messages import NOTHING, Invocation, Outcome
from devhost.worker_process import WorkerProcess
from devhost.worker_start import StartedWorker, start_worker

#: A worker that lived this long was healthy: the next one that dies is replaced at once.
HEALTHY_SECONDS = 10.0
FIRST_RESTART_DELAY_SECONDS = 0.25
MAX_RESTART_DELAY_SECONDS = 10.0

Metadata = list[dict[str, Any]]


def restart_delay(quick_deaths: int) -> float:
    """Seconds to wait before the next start, after so many quick deaths in a row.

    >>> [restart_delay(n) for n in (1, 2, 3, 4, 9)]
    [0.0, 0.25, 0.5, 1.0, 10.0]
    """
    if quick_deaths <= 1:
        return 0.0
    return min(FIRST_RESTART_DELAY_SECONDS * 2.0 ** (quick_deaths - 2), MAX_RESTART_DELAY_SECONDS)


class WorkerPool:
    """`size` workers running the app in `app_dir`, the first of which is on its way."""

    def __init__(
        self,
        app_dir: Path,
        environment: Mapping[str, str],
        size: int,
        first: StartedWorker,
        on_ready: Callable[[WorkerProcess], Awaitable[None]],
    ) -> None:
        self._app_dir = app_dir
        self._environment = environment
        self._size = size
        self._first: StartedWorker | None = first
        self._on_ready = on_ready
        self._workers: list[WorkerProcess] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._next = 0
        self._some_ready = asyncio.Event()
        self._stopping = asyncio.Event()
        #: The first worker's metadata, or the failure that it reported.
        self.loaded: asyncio.Future[Metadata | Outcome] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        """Start the workers in the background; `loaded` tells when the app is known."""
        self._keepers = [asyncio.create_task(self._keep_one_alive()) for _ in range(self._size)]

    @property
    def pids(self) -> list[int]:
        return [worker.pid for worker in self._workers]

    async def invoke(self, invocation: Invocation, timeout_seconds: float) -> Outcome:
        """Run an invocation in the next ready worker, waiting for one when all are being replaced.

        Raises WorkerLost when the worker dies meanwhile, FunctionTimedOut (and ends the worker) when the invocation
        outlives `timeout_seconds`, HostNotRunning when the app could not be loaded.
        """
        worker = await self._ready_worker()
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        try:
            async with asyncio.timeout_at(None if deadline == float("inf") else deadline):
                return await worker.channel.invoke(invocation)
        except TimeoutError:
            worker.kill()
            raise FunctionTimedOut(
                f"Timeout value of {timeout_seconds:g} s was exceeded by invocation {invocation.invocation_id}; "
                "its worker process was ended."
            ) from None

    async def _ready_worker(self) -> WorkerProcess:
        while True:
            ready = [worker for worker in self._workers if worker.is_ready and not worker.channel.closed.done()]
            if ready:
                self._next = (self._next + 1) % len(ready)
                return ready[self._next]
            is_none_coming = self._stopping.is_set() and not self._workers
            if is_none_coming or (self.loaded.done() and isinstance(self.loaded.result(), Outcome)):
                raise HostNotRunning("Function host is not running.")
            self._some_ready.clear()
            await self._some_ready.wait()

    async def _keep_one_alive(self) -> None:
        quick_deaths = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                worker = await WorkerProcess.adopt(self._start_worker())
            except OSError as error:
                console.log(f"A worker process could not be started: {error}")
                await asyncio.sleep(MAX_RESTART_DELAY_SECONDS)
                continue
            self._workers.append(worker)
            await self._run(worker)
            code = await worker.stop()
            self._workers.remove(worker)
            if self._stopping.is_set():
                self._some_ready.set()  # what waits for this one waits in vain
                return
            console.log(f"Language worker process exited. Pid={worker.pid}. python exited with code {code}.")
            if self.loaded.done() and isinstance(self.loaded.result(), Outcome):
                return  # the app cannot be loaded: starting it again would only repeat the traceback
            quick_deaths = quick_deaths + 1 if time.monotonic() - started < HEALTHY_SECONDS else 1
            await asyncio.sleep(restart_delay(quick_deaths))

    def _start_worker(self) -> StartedWorker:
        first, self._first = self._first, None
        return first or start_worker(self._app_dir, self._environment)

    async def _run(self, worker: WorkerProcess) -> None:
        """See one worker from its start to the loss of its channel."""
        loaded = await worker.channel.loaded
        if isinstance(loaded, Outcome):
            if not self.loaded.done():
                self.loaded.set_result(loaded)
                self._some_ready.set()
            elif not isinstance(self.loaded.result(), Outcome) and not self._stopping.is_set():
                report_failed_load(loaded)  # the app was changed, or something it needs is gone
            worker.drain()
            return
        if not self.loaded.done():
            self.loaded.set_result(loaded)
        worker.is_ready = True
        self._some_ready.set()
        await self._on_ready(worker)
        await worker.channel.closed
        worker.is_ready = False

    def announce_stop(self) -> None:
        """Tell every worker that the host is stopping; they go on until `stop`, and no other is started."""
        self._stopping.set()
        self._some_ready.set()
        for worker in self._workers:
            worker.drain()

    async def stop(self) -> None:
        """End all workers, drained or not."""
        self._stopping.set()
        self._some_ready.set()
        for worker in self._workers:
            if not worker.is_ready:
                worker.kill()  # it is still loading the app, which nothing in it can interrupt
        await asyncio.gather(*(worker.stop() for worker in list(self._workers)))
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    def kill(self) -> None:
        """End all workers at once."""
        self._stopping.set()
        for worker in self._workers:
            worker.kill()


def report_failed_load(failure: Outcome) -> None:
    """Say why a worker could not load the app."""
    console.log(f"The function app could not be loaded: {failure.error}\n{failure.traceback}".rstrip())


async def warm_up(worker: WorkerProcess, function: Function) -> None:
    """Run a warmupTrigger function once in one worker; its failure is reported and changes nothing."""
    invocation = Invocation(str(uuid.uuid4()), function.function_id, [(function.trigger.name, NOTHING)])
    try:
        outcome = await worker.channel.invoke(invocation)
    except WorkerLost as error:
        outcome = Outcome(False, error=str(error))
    if not outcome.succeeded:
        console.log(f"Warm-up of worker {worker.pid} failed: {outcome.error}\n{outcome.traceback.rstrip()}")
