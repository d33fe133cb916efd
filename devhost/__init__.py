"""The local host: stands in for `func start` where Core Tools cannot be installed.

It runs a function app as the Azure Functions host does, and refuses to do anything that host does not.
"""

from pathlib import Path

__all__ = ["start"]


def start(
    app_dir: Path,
    *,
    port: int | None = None,
    address: str | None = None,
    enable_auth: bool = False,
    functions: tuple[str, ...] = (),
    is_verbose: bool = False,
    is_json: bool = False,
) -> int:
    """Run the function app in `app_dir` until SIGINT or SIGTERM, and return the exit code.

    The exit code is 0 after a drain, 1 otherwise. A port of None is local.settings.json's, else 7071; 0 is a free one,
    told in the banner. `functions` limits the run to those names. Errors of configuration are printed, not raised.
    With `is_json` stdout has one line of JSON in the banner's place, and stderr the rest.
    """
    # Not at the top: every worker process imports this package, and needs nothing of the host.
    from devhost.launch import launch

    return launch(
        app_dir.resolve(),
        port=port,
        address=address,
        enable_auth=enable_auth,
        functions=functions,
        is_verbose=is_verbose,
        is_json=is_json,
    )
