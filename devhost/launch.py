"""Owns a start of the host from its arguments: reads the configuration, reserves the port, runs, reports errors.

It refuses to import what only the host needs before the first worker is on its way: that takes as long as a worker's
own first steps.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from devhost import console
from devhost.app_settings import merge_settings, read_local_settings, worker_environment
from devhost.ending_signals import ending_signals
from devhost.errors import HostError
from devhost.host_json import read_host_json
from devhost.options import HostOptions, read_worker_count, reserve_listener
from devhost.worker_start import StartedWorker, start_worker

DEFAULT_PORT = 7071
DEFAULT_ADDRESS = "127.0.0.1"


def launch(
    app_dir: Path,
    *,
    port: int | None,
    address: str | None,
    enable_auth: bool,
    functions: tuple[str, ...],
    is_verbose: bool,
    is_json: bool,
) -> int:
    """Run the host as `devhost.start` describes it."""
    if is_json:
        console.print_json()
    try:
        local = read_local_settings(app_dir / "local.settings.json")
        merged, overridden = merge_settings(local.values, os.environ)
        for name in overridden:
            console.say(
                f"Skipping '{name}' from local settings as it's already defined in current environment variables."
            )
        is_development = merged.get("AZURE_FUNCTIONS_ENVIRONMENT", "Development") == "Development"
        host_json = read_host_json(app_dir / "host.json", is_development=is_development, settings=merged)
        workers = read_worker_count(merged)
        chosen_port = next(choice for choice in (port, local.port, DEFAULT_PORT) if choice is not None)
        listener = reserve_listener(address or local.address or DEFAULT_ADDRESS, chosen_port)
        options = HostOptions(
            app_dir=app_dir,
            settings=worker_environment(merged, app_dir, listener.getsockname()[1]),
            local=local,
            host_json=host_json,
            listener=listener,
            enable_auth=enable_auth,
            workers=workers,
            functions=functions,
            is_verbose=is_verbose,
        )
        with options.listener, _ending_on_signals():
            return _run(options, _start_first_worker(options))
    except HostError as error:
        console.complain(str(error))
        return 1


@contextmanager
def _ending_on_signals() -> Iterator[None]:
    """Have the signals that end the host end the start, and what it has begun, until the host takes them over."""

    def end(*_: object) -> NoReturn:
        sys.exit(0)

    before = {number: signal.signal(number, end) for number in ending_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start_first_worker(options: HostOptions) -> StartedWorker:
    try:
        return start_worker(options.app_dir, options.settings)
    except (OSError, ValueError) as error:  # of no memory, say, or of a setting that no environment can hold
        raise HostError(f"A worker process could not be started: {error}.") from error


def _run(options: HostOptions, first_worker: StartedWorker) -> int:
    try:
        import asyncio

        from devhost.host import Host

        async def run() -> int:
            return await Host(options, first_worker).run()

        return asyncio.run(run())
    finally:
        first_worker.end()  # of a start that did not get to where the host looks after it
