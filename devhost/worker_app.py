"""Owns what a worker does: loads function_app.py with Microsoft's library worker and runs invocations from the host.

It decides nothing: which function runs, when, and what becomes of the outcome is the host's part.
"""

import asyncio
import gc
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from azure_functions_runtime import handle_event, native_invocation
from azure_functions_runtime.bindings.meta import load_binding_registry
from azure_functions_runtime.otel import initialize_azure_monitor, otel_manager, update_opentelemetry_status
from azure_functions_runtime.utils.app_setting_manager import is_envvar_true
from azure_functions_runtime.utils.threadpool import start_threadpool_executor

from devhost.framing import FrameProtocol, Header
from devhost.messages import Invocation, Outcome, pack_outcome, unpack_invocation
from devhost.runtime_values import RuntimeProtos, from_datum, to_datum
from devhost.worker_logging import configure_logging


class HostChannel(FrameProtocol):
    """The worker's end of the socket: each invocation becomes a task, its outcome a frame."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._draining = False

    def frame_received(self, header: Header, body: memoryview) -> None:
        if header["op"] == "invoke":
            invoking = self._invoke(header["n"], unpack_invocation(header, body))
            # Started at once, not at the loop's next turn: a tenth of the time of a small invocation.
            task = asyncio.Task(invoking, loop=asyncio.get_running_loop(), eager_start=True)
            if not task.done():
                self._running.add(task)
                task.add_done_callback(self._running.discard)
        elif header["op"] == "drain":
            self._draining = True
            announce_termination()

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self._draining:
            # The host is gone without a word, as when a container is killed: so is everything in it.
            os._exit(1)
        self.closed.set()

    async def _invoke(self, number: int, invocation: Invocation) -> None:
        try:
            self.send(*pack_outcome(number, await run_function(invocation)))
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            # A value that has no wire form, or what the library worker lets through: the cancellation of what the
            # function waited for, a panic of an extension in Rust. The invocation failed, the worker did not.
            outcome = Outcome(False, error=repr(error), traceback=traceback.format_exc())
            self.send(*pack_outcome(number, outcome))


async def run_function(invocation: Invocation) -> Outcome:
    """Run one invocation through the library worker; an exception of the function is a failed outcome."""
    ok, returned, outputs, error, trace = await native_invocation.invocation_request_native(
        invocation.invocation_id,
        invocation.function_id,
        [(name, to_datum(value)) for name, value in invocation.inputs],
        {name: to_datum(value) for name, value in invocation.trigger_metadata.items()},
        trace_parent=invocation.trace_parent,
        trace_state=invocation.trace_state,
    )
    return Outcome(
        succeeded=ok,
        returned=None if returned is None else from_datum(returned),
        outputs={name: from_datum(datum) for name, datum in outputs},
        error=error or "",
        traceback=trace or "",
    )


def announce_termination() -> None:
    """Raise SIGTERM in this process so that the app's own handler runs; without one, keep serving until drained."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        return
    os.kill(os.getpid(), signal.SIGTERM)


def load_functions(app_dir: Path) -> list[dict[str, Any]]:
    """Import and index function_app.py in `app_dir`, in the order of the library worker's own init request.

    Raises whatever the import or the indexing raises. Returns name, id and raw bindings (JSON texts) of each function.
    """
    if is_envvar_true("PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY"):
        initialize_azure_monitor()
    if is_envvar_true("PYTHON_ENABLE_OPENTELEMETRY"):
        otel_manager.set_otel_libs_available(True)
        update_opentelemetry_status()
    handle_event.protos = RuntimeProtos
    load_binding_registry()
    handle_event.load_function_metadata(str(app_dir), caller_info="worker_init_request")
    start_threadpool_executor()
    return [
        {"name": entry.name, "id": entry.function_id, "bindings": list(entry.raw_bindings)}
        for entry in handle_event._metadata_result or []
    ]


async def serve(channel_fd: int, app_dir: Path) -> int:
    """Load the app, tell the host what is in it, and serve until the host closes the channel. Returns the exit code."""
    loop = asyncio.get_running_loop()
    _, channel = await loop.create_connection(HostChannel, sock=socket.socket(fileno=channel_fd))
    try:
        functions = load_functions(app_dir)
    except Exception as error:
        channel.send({"op": "failed", "error": repr(error), "traceback": traceback.format_exc()})
        await channel.closed.wait()
        return 1
    # What was imported stays: it is looked at by no collection from here on.
    gc.freeze()
    gc.enable()
    channel.send({"op": "ready", "functions": functions})
    await channel.closed.wait()
    return 0


def run() -> None:
    """Read CHANNEL_FD and APP_DIR from the command line, and serve; `devhost.worker` calls it."""
    channel_fd, app_dir = int(sys.argv[1]), Path(sys.argv[2])
    os.set_inheritable(channel_fd, False)
    # function_app.py sees the folder it lives in first on its path and as its working directory, as on the real host.
    sys.path[0] = str(app_dir)
    os.chdir(app_dir)
    configure_logging()
    sys.exit(asyncio.run(serve(channel_fd, app_dir)))
