"""Owns the life of the host: storage, workers, triggers and HTTP brought up in order, drained and taken down again."""

import asyncio
import hashlib
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from devhost import console
from devhost.azurite import (
    BLOB_PORT,
    QUEUE_PORT,
    TABLE_PORT,
    Azurite,
    find_executable,
    is_development_storage,
    is_listening,
)
from devhost.ending_signals import ending_signals
from devhost.errors import HostNotRunning
from devhost.functions import Function, read_functions
from devhost.invoker import Invoker, Occasion
from devhost.messages import Outcome
from devhost.options import HostOptions
from devhost.worker_pool import Metadata, WorkerPool, report_failed_load, warm_up
from devhost.worker_process import WorkerProcess
from devhost.worker_start import StartedWorker

if TYPE_CHECKING:
    from devhost.data_bindings import DataBindings
    from devhost.serving import HttpServer
    from devhost.triggers import Triggers

#: How long invocations in flight may go on after the first SIGTERM; a Container Apps replica has 30 s in all.
DRAIN_SECONDS = 25.0

#: Of them, what messages and timers get once no request is under way (WebJobsScriptHostService.StopAsync).
MESSAGES_SECONDS = 10.0

#: How long what was cut short then may take to be answered, and its messages to be released.
CUT_SHORT_SECONDS = 5.0

#: How long the banner waits for the first worker's warm-up function, and how long the triggers on storage do.
WARM_UP_SECONDS = 30.0
STORAGE_WAITS_SECONDS = 2.0


class Host:
    """One run of the host. `run` returns the exit code."""

    def __init__(self, options: HostOptions, first_worker: StartedWorker) -> None:
        self._options = options
        self.functions: list[Function] = []
        self.route_prefix = options.host_json.route_prefix
        self.state = "Starting"
        self.errors: list[str] = []
        self.host_id = hashlib.sha256(str(options.app_dir).encode()).hexdigest()[:32]
        self.is_draining = False
        self._triggers: Triggers | None = None
        self._http: HttpServer | None = None
        self._azurite: Azurite | None = None
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._started = asyncio.Event()
        self._warmed = asyncio.Event()
        self._pool = WorkerPool(options.app_dir, options.settings, options.workers, first_worker, self._warm_up)
        self._data_bindings: asyncio.Future[DataBindings] = asyncio.get_running_loop().create_future()
        timeout_seconds = options.host_json.function_timeout_seconds
        self._invoker = Invoker(self._pool, self._data_bindings, timeout_seconds, is_verbose=options.is_verbose)

    @property
    def outstanding_invocations(self) -> int:
        return self._invoker.outstanding

    @property
    def worker_pids(self) -> list[int]:
        return self._pool.pids

    async def invoke(self, function: Function, occasion: Occasion) -> Outcome:
        return await self._invoker.invoke(function, occasion)

    def drain(self) -> None:
        """Stop polling; HTTP goes on. What POST /admin/host/drain asks for."""
        self.is_draining = True
        if self._triggers is not None:
            self._triggers.stop_polling()

    async def run(self) -> int:
        """Serve until a signal comes. Returns 0 after a drain, 1 when a second signal cut it short."""
        self._handle_signals()
        self._pool.start()
        try:
            self._launch_storage()
            await self._start_unless_stopped()
            await self._stop.wait()
            return await self._drain_and_stop()
        finally:
            await self._clean_up()

    async def _start_unless_stopped(self) -> None:
        """Start, but let a signal end an app that never finishes loading."""
        starting = asyncio.create_task(self._start())
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if starting.done():
            starting.result()
        starting.cancel()

    def _handle_signals(self) -> None:
        def on_signal() -> None:
            if self._stop.is_set():
                self._stop_now.set()
            self._stop.set()

        loop = asyncio.get_running_loop()
        for number in ending_signals():
            loop.add_signal_handler(number, on_signal)

    def _launch_storage(self) -> None:
        if not is_development_storage(self._options.settings.get("AzureWebJobsStorage", "")):
            return
        if is_listening(BLOB_PORT) and is_listening(QUEUE_PORT):
            return
        app_dir = self._options.app_dir
        executable = find_executable([app_dir, Path(__file__).resolve().parents[1]])
        ports = {"blob_port": BLOB_PORT, "queue_port": QUEUE_PORT, "table_port": TABLE_PORT}
        self._azurite = Azurite(app_dir / ".azurite", executable=executable, **ports)
        self._azurite.launch()

    async def _start(self) -> None:
        # Imported while the worker process loads the app, which takes as long.
        from devhost.serving import serve_http

        self._read_functions(await self._pool.loaded)
        self._http = await serve_http(self, self._options)
        if self._azurite is not None:
            await asyncio.to_thread(self._azurite.wait_until_ready)
        self._started.set()
        if not any(function.inputs or function.outputs for function in self.functions):
            # What talks to storage is imported once the app is warm: a core at work beside the worker's slows it down.
            await self._warm_for(STORAGE_WAITS_SECONDS)
        await asyncio.to_thread(import_module, "devhost.storage_services")
        self._build_storage_services()
        if self.state != "Error":
            self.state = "Running"
            # As on the plan that has the trigger: an instance warms up before it is announced.
            await self._warm_for(WARM_UP_SECONDS)
        console.announce(self.functions, self._options.base_url, self.route_prefix)
        console.log(f"Now listening on: {self._options.base_url}")
        if not self.functions and self.state != "Error":
            console.log("No job functions found. Try making your job classes and methods public.")

    async def _warm_for(self, seconds: float) -> None:
        """Wait for the first worker's warm-up function, but not longer than that."""
        if self.state != "Error":
            with suppress(TimeoutError):
                await asyncio.wait_for(self._warmed.wait(), seconds)

    def _read_functions(self, loaded: Metadata | Outcome) -> None:
        if isinstance(loaded, Outcome):
            self.state = "Error"
            self.errors = [loaded.error]
            report_failed_load(loaded)
            return
        functions = read_functions(loaded, self._options.settings)
        wanted = {name.lower() for name in self._options.functions}
        self.functions = [f for f in functions if not wanted or f.name.lower() in wanted]

    def _build_storage_services(self) -> None:
        from devhost.storage_services import build_storage_services

        services = build_storage_services(self.functions, self._options, self._invoker)
        self._data_bindings.set_result(services.data_bindings)
        self._triggers = services.triggers
        if not self.is_draining:
            self._triggers.start()

    async def _warm_up(self, worker: WorkerProcess) -> None:
        """Run the app's warm-up function in a worker that has just become ready, once the host itself has started."""
        await self._started.wait()
        for function in self.functions:
            if function.trigger.type == "warmupTrigger" and not function.is_disabled:
                await warm_up(worker, function)
        self._warmed.set()

    async def _drain_and_stop(self) -> int:
        """Stop polling and accepting, tell the workers, wait for what is in flight."""
        self.state = "Stopping"
        self.drain()
        if not self._data_bindings.done():
            # The start was cut short: what waits for storage would wait for ever.
            self._data_bindings.set_exception(HostNotRunning("Function host is not running."))
            self._data_bindings.exception()
        self._pool.announce_stop()
        console.log("Host shutting down: draining.")  # now that it is true, of the workers too
        requests = asyncio.create_task(self._finish_requests())
        messages = asyncio.create_task(self._finish_messages())
        second_signal = asyncio.create_task(self._stop_now.wait())
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + DRAIN_SECONDS
        for finishing, seconds in ((requests, DRAIN_SECONDS), (messages, MESSAGES_SECONDS)):
            left = min(seconds, ends_at - loop.time())
            await asyncio.wait([finishing, second_signal], timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if not (requests.done() and messages.done()):
            if self.outstanding_invocations:
                console.log(f"{self.outstanding_invocations} invocations had not ended and are cut short.")
            self._pool.kill()
            if self._http is not None:
                self._http.cut_short()
            await asyncio.wait([requests, messages], timeout=CUT_SHORT_SECONDS)
        second_signal.cancel()
        return 1 if self._stop_now.is_set() else 0

    async def _finish_requests(self) -> None:
        if self._http is not None:
            await self._http.drain()

    async def _finish_messages(self) -> None:
        if self._triggers is not None:
            await self._triggers.stop()

    async def _clean_up(self) -> None:
        await self._pool.stop()
        if self._triggers is not None:
            await self._triggers.close()
        if self._azurite is not None:
            await asyncio.to_thread(self._azurite.stop)
