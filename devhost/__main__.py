"""Owns the command line `python -m devhost`, with the flags of `func start` that the host has."""

import argparse
import sys
from pathlib import Path

from devhost import start


def main() -> int:
    """Parse the command line, run the host, return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m devhost", description="Run a function app as `func start` does.")
    parser.add_argument("--port", "-p", type=int, help="local port, 0 for a free one (default: 7071)")
    parser.add_argument("--address", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--enable-auth", "--enableAuth", action="store_true", help="ask for keys, as in Azure")
    parser.add_argument("--functions", nargs="+", default=[], metavar="NAME", help="load only these functions")
    parser.add_argument("--verbose", action="store_true", help="print a line for each invocation")
    parser.add_argument("--script-root", type=Path, default=Path(), metavar="FOLDER", help="the function app's folder")
    arguments = parser.parse_args()
    return start(
        arguments.script_root,
        port=arguments.port,
        address=arguments.address,
        enable_auth=arguments.enable_auth,
        functions=tuple(arguments.functions),
        is_verbose=arguments.verbose,
    )


if __name__ == "__main__":
    sys.exit(main())
