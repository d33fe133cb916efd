"""The local host: stands in for `func start` where Core Tools cannot be installed.

It runs a function app as the Azure Functions host does, and refuses to do anything that host does not.
"""

import os
from pathlib import Path

from devhost import console
from devhost.app_settings import merge_settings, read_local_settings, worker_environment
from devhost.errors import HostError
from devhost.host_json import read_host_json
from devhost.options import HostOptions, reserve_listener

__all__ = ["start"]

DEFAULT_PORT = 7071
DEFAULT_ADDRESS = "127.0.0.1"


def start(
    app_dir: Path,
    *,
    port: int | None = None,
    address: str | None = None,
    enable_auth: bool = False,
    functions: tuple[str, ...] = (),
    is_verbose: bool = False,
) -> int:
    """Run the function app in `app_dir` until SIGINT or SIGTERM, and return the exit code.

    The exit code is 0 after a drain, 1 otherwise. A port of None is local.settings.json's, else 7071; 0 is a free one,
    told in the banner. `functions` limits the run to those names. Errors of configuration are printed, not raised.
    """
    from devhost.host import run_host  # asyncio and its friends, not needed to refuse a bad configuration

    try:
        options = _read_options(app_dir.resolve(), port, address, enable_auth, functions, is_verbose)
        return run_host(options)
    except HostError as error:
        console.say(str(error))
        return 1


def _read_options(
    app_dir: Path,
    port: int | None,
    address: str | None,
    enable_auth: bool,
    functions: tuple[str, ...],
    is_verbose: bool,
) -> HostOptions:
    local = read_local_settings(app_dir / "local.settings.json")
    merged, overridden = merge_settings(local.values, os.environ)
    for name in overridden:
        console.say(f"Skipping '{name}' from local settings as it's already defined in current environment variables.")
    environment = merged.get("AZURE_FUNCTIONS_ENVIRONMENT", "Development")
    host_json = read_host_json(app_dir / "host.json", is_development=environment == "Development")
    listener = reserve_listener(
        address or local.address or DEFAULT_ADDRESS,
        port if port is not None else local.port if local.port is not None else DEFAULT_PORT,
    )
    return HostOptions(
        app_dir=app_dir,
        settings=worker_environment(merged, app_dir, listener.getsockname()[1]),
        local=local,
        host_json=host_json,
        listener=listener,
        enable_auth=enable_auth,
        functions=functions,
        is_verbose=is_verbose,
    )
