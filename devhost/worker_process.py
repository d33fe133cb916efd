"""Owns one worker process: its start, its channel, the invocations in flight in it, and its end.

It does not replace a dead worker; that is the pool's part.
"""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from devhost import console
from devhost.errors import WorkerLost
from devhost.framing import FrameProtocol, Header
from devhost.messages import Invocation, Outcome, pack_invocation, unpack_outcome

#: How long a worker may take to end by itself once its channel is closed.
EXIT_SECONDS = 5.0


class WorkerChannel(FrameProtocol):
    """The host's end of the socket: matches outcomes with the invocations that wait for them."""

    def __init__(self) -> None:
        super().__init__()
        loop = asyncio.get_running_loop()
        #: The function metadata, or the failure that the worker reported.
        self.loaded: asyncio.Future[list[dict[str, Any]] | Outcome] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._waiting: dict[int, asyncio.Future[Outcome]] = {}
        self._number = 0

    @property
    def in_flight(self) -> int:
        return len(self._waiting)

    async def invoke(self, invocation: Invocation) -> Outcome:
        """Send an invocation and wait for its outcome. Raises WorkerLost when the worker dies first."""
        if self.closed.done():
            raise WorkerLost("The worker process is gone.")
        self._number += 1
        number = self._number
        waiting: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        try:
            self.send(*pack_invocation(number, invocation))
            return await waiting
        finally:
            del self._waiting[number]

    def frame_received(self, header: Header, body: memoryview) -> None:
        operation = header["op"]
        if operation == "outcome":
            waiting = self._waiting.get(header["n"])
            if waiting is not None and not waiting.done():
                waiting.set_result(unpack_outcome(header, body))
        elif operation == "ready":
            self.loaded.set_result(header["functions"])
        elif operation == "failed":
            self.loaded.set_result(Outcome(False, error=header["error"], traceback=header["traceback"]))

    def connection_lost(self, _exc: Exception | None) -> None:
        self.closed.set_result(None)
        if not self.loaded.done():
            self.loaded.set_result(Outcome(False, error="The worker process ended before it had loaded the app."))
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(WorkerLost("The worker process ended while it ran the function."))


class WorkerProcess:
    """A running worker. Make one with `start`."""

    def __init__(self, process: asyncio.subprocess.Process, channel: WorkerChannel) -> None:
        self._process = process
        self.channel = channel
        self.is_ready = False
        self._relays = [
            asyncio.create_task(_relay(stream, console.log))
            for stream in (process.stdout, process.stderr)
            if stream is not None
        ]

    @classmethod
    async def start(cls, app_dir: Path, environment: Mapping[str, str]) -> "WorkerProcess":
        """Start `python -m devhost.worker`, joined to this process by a socket pair."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "devhost.worker",
                str(theirs.fileno()),
                str(app_dir),
                cwd=Path(__file__).resolve().parents[1],
                env=dict(environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=1 << 20,
                pass_fds=[theirs.fileno()],
                # Ctrl-C in a terminal goes to the host alone, which then drains.
                start_new_session=True,
            )
        _, channel = await asyncio.get_running_loop().create_connection(WorkerChannel, sock=ours)
        return cls(process, channel)

    @property
    def pid(self) -> int:
        return self._process.pid

    def drain(self) -> None:
        """Tell the worker that the host is stopping: its SIGTERM handler, if the app has one, runs."""
        self.channel.send({"op": "drain"})

    def kill(self) -> None:
        """End the process at once; it gets no further invocation."""
        self.is_ready = False
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Wait until the process has ended and all it wrote is on the console; return its exit code."""
        code = await self._process.wait()
        # A grandchild may hold the pipes open for ever; what the worker itself wrote is there at once.
        await asyncio.wait(self._relays, timeout=1)
        for relay in self._relays:
            relay.cancel()
        return code

    async def stop(self) -> int:
        """Close the channel and wait for the worker's end, killing it when it takes too long; return its exit code."""
        if self.channel.transport is not None:
            self.channel.transport.close()
        try:
            async with asyncio.timeout(EXIT_SECONDS):
                return await self.wait()
        except TimeoutError:
            self.kill()
            return await self.wait()


async def _relay(stream: asyncio.StreamReader, write: Callable[[str], None]) -> None:
    while True:
        try:
            line = await stream.readline()
        except ValueError:
            continue  # a line longer than the stream's limit is dropped, the relay goes on
        if not line:
            return
        write(line.decode(errors="replace").rstrip("\r\n"))
