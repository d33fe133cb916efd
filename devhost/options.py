"""Owns what one run of the host is asked to do, checked before anything starts."""

import errno
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from devhost.app_settings import LocalSettings
from devhost.errors import ConfigurationError
from devhost.host_json import HostJson

#: Of a whole number in an app setting; Python reads only so many at all.
_MAX_DIGITS = 18

_MAX_PORT = 65535

#: FUNCTIONS_WORKER_PROCESS_COUNT has this upper limit on the real host.
MAX_WORKERS = 10


class HostOptions(NamedTuple):
    """A checked start: where the app is, how it is configured, and the socket that was reserved for it."""

    app_dir: Path
    settings: Mapping[str, str]
    local: LocalSettings
    host_json: HostJson
    listener: socket.socket
    enable_auth: bool = False
    workers: int = 1
    functions: tuple[str, ...] = ()
    is_verbose: bool = False

    def integer_setting(self, name: str, default: int) -> int:
        """Read an app setting that is a positive whole number. Raises ConfigurationError."""
        return _read_integer(self.settings, name, default)

    @property
    def base_url(self) -> str:
        host, port = self.listener.getsockname()[:2]
        return f"http://{'localhost' if host in {'127.0.0.1', '0.0.0.0', '::1', '::'} else host}:{port}"  # noqa: S104


def read_worker_count(settings: Mapping[str, str]) -> int:
    """Return how many worker processes are to run. Raises ConfigurationError."""
    return min(_read_integer(settings, "FUNCTIONS_WORKER_PROCESS_COUNT", 1), MAX_WORKERS)


def _read_integer(settings: Mapping[str, str], name: str, default: int) -> int:
    text = settings.get(name) or str(default)
    if not text.isdecimal() or len(text) > _MAX_DIGITS or int(text) < 1:
        raise ConfigurationError(f"The app setting {name} must be a positive whole number, not '{text}'.")
    return int(text)


def reserve_listener(address: str, port: int) -> socket.socket:
    """Bind the address without listening yet, so that its port is known to the workers. Raises ConfigurationError."""
    if not 0 <= port <= _MAX_PORT:
        raise ConfigurationError(f"The port must be a number from 0 to {_MAX_PORT}, not {port}.")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
            raise ConfigurationError(f"The address '{address}' is not one that this machine can listen on.") from error
        raise ConfigurationError(
            f"Port {port} is unavailable ({os.strerror(error.errno)}). "
            "Close the process using that port, or specify another port using --port [-p]."
        ) from error
    return listener
