"""`onnxfn start`: the app on the local host until Ctrl-C; the only command that needs no running service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inference.cli.options import JsonOption


def start(
    port: Annotated[int, typer.Option("--port", "-p", min=0, max=65535, help="0 takes a free one.")] = 7071,
    address: Annotated[str, typer.Option("--address", help="The address to listen on.")] = "127.0.0.1",
    enable_auth: Annotated[bool, typer.Option("--enable-auth", help="Ask for keys, as in Azure.")] = False,
    json: JsonOption = False,
) -> None:
    """Serve the app on this machine until Ctrl-C; `func start` does the same where Core Tools are installed."""
    from devhost import start as start_host

    raise typer.Exit(start_host(_find_app(), port=port, address=address, enable_auth=enable_auth, is_json=json))


def _find_app() -> Path:
    """Return the folder of the app: the current one, else the one that this program is installed from."""
    from inference.cli.failure import WrongCall

    for folder in (Path.cwd(), Path(__file__).resolve().parents[2]):
        if (folder / "function_app.py").is_file():
            return folder
    raise WrongCall("There is no function_app.py in this folder.")
