"""`onnxfn model`: what is served; it refuses to load a model itself."""

from __future__ import annotations

import typer

from inference.cli.options import DEFAULT_URL, JsonOption, KeyOption, UrlOption

app = typer.Typer(help="Models that the service has.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Models that the service has."""


@app.command("list")
def list_models(url: UrlOption = DEFAULT_URL, key: KeyOption = "", json: JsonOption = False) -> None:
    """List the models: the version that serves, the others, state and task."""
    from inference.cli.client import Client
    from inference.cli.output import print_json, print_table

    reply = Client(url, key).read_json("/models")
    if json:
        print_json(reply)
        return
    rows = [
        (
            model["name"],
            model["version"],
            ", ".join(version["version"] for version in model["versions"]),
            model["state"],
            model["task"],
            len(model["labels"]) if model["labels"] is not None else None,
            (model["sha256"] or "")[:12],
        )
        for model in reply["models"]
    ]
    print_table(("NAME", "SERVES", "VERSIONS", "STATE", "TASK", "LABELS", "SHA256"), rows)
