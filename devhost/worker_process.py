"""Owns one started worker process: its channel, the invocations in flight in it, its output, and its end.

It does not replace a dead worker; that is the pool's part.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import IO, Any

from devhost import console
from devhost.errors import WorkerLost
from devhost.framing import FrameProtocol, Header
from devhost.messages import Invocation, Outcome, pack_invocation, unpack_outcome
from devhost.worker_start import StartedWorker

#: How long a worker may take to end by itself once its channel is closed.
EXIT_SECONDS = 5.0

#: How long what a worker sent and wrote before its end may take to be read; it is there at once.
LAST_WORDS_SECONDS = 1.0


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
    """A running worker. Make one with `adopt`."""

    def __init__(self, started: StartedWorker, channel: WorkerChannel) -> None:
        self._process = started.process
        self.channel = channel
        self.is_ready = False
        self._ended = _end_of(started)
        self._ended.add_done_callback(lambda _: self._abandon_channel())
        self._relays = [
            asyncio.create_task(_relay(pipe, console.log))
            for pipe in (started.process.stdout, started.process.stderr)
            if pipe is not None
        ]

    @classmethod
    async def adopt(cls, started: StartedWorker) -> "WorkerProcess":
        """Look after a worker from now on."""
        _, channel = await asyncio.get_running_loop().create_connection(WorkerChannel, sock=started.channel)
        return cls(started, channel)

    @property
    def pid(self) -> int:
        return self._process.pid

    def drain(self) -> None:
        """Tell the worker that the host is stopping: its SIGTERM handler, if the app has one, runs."""
        self.channel.send({"op": "drain"})

    def kill(self) -> None:
        """End the process at once; it gets no further invocation."""
        self.is_ready = False
        self._process.kill()

    async def wait(self) -> int:
        """Wait until the process has ended and all it wrote is on the console; return its exit code."""
        code = await asyncio.shield(self._ended)
        # A grandchild may hold the pipes open for ever.
        await asyncio.wait(self._relays, timeout=LAST_WORDS_SECONDS)
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

    def _abandon_channel(self) -> None:
        # A forked child may hold it open for ever, and what ran in the worker would be waited for as long.
        if self.channel.transport is not None:
            asyncio.get_running_loop().call_later(LAST_WORDS_SECONDS, self.channel.transport.abort)


def _end_of(started: StartedWorker) -> asyncio.Future[int]:
    """Return what becomes the process's exit code."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def wait() -> None:
        code = started.process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
            loop.call_soon_threadsafe(ended.set_result, code)

    threading.Thread(target=wait, name=f"worker {started.process.pid}", daemon=True).start()
    return ended


async def _relay(pipe: IO[bytes], write: Callable[[str], None]) -> None:
    reader = asyncio.StreamReader(limit=1 << 20)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    with contextlib.closing(transport):
        while True:
            try:
                line = await reader.readline()
            except ValueError:
                continue  # a line longer than the stream's limit is dropped, the relay goes on
            if not line:
                return
            write(line.decode(errors="replace").rstrip("\r\n"))
