"""`onnxfn batch`: submit a manifest, watch it, take its results; it refuses to hold a batch's state itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inference.cli.options import DEFAULT_URL, JsonOption, KeyOption, ModelOption, OutputOption, UrlOption

if TYPE_CHECKING:
    from inference.cli.client import Client

app = typer.Typer(help="Manifests of many images: submit, watch, results.", no_args_is_help=True)

BatchArgument = Annotated[str, typer.Argument(metavar="BATCH_ID", show_default=False)]


@app.command()
def submit(
    manifest: Annotated[
        str, typer.Argument(metavar="MANIFEST", show_default=False, help="A file, or the url of a blob of the account.")
    ],
    batch_id: Annotated[
        str | None, typer.Option("--batch-id", metavar="ID", help="Submitting the same twice is then one batch.")
    ] = None,
    model: ModelOption = None,
    mini_batch_size: Annotated[int | None, typer.Option("--mini-batch-size", min=1, help="Images a shard.")] = None,
    error_threshold: Annotated[
        int | None, typer.Option("--error-threshold", min=-1, help="The batch fails past so many failed images.")
    ] = None,
    max_retries: Annotated[int | None, typer.Option("--max-retries", min=0, help="Further tries of an image.")] = None,
    callback_url: Annotated[
        str | None, typer.Option("--callback-url", metavar="URL", help="Where the service posts how the batch ended.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until the batch has ended; exit 1 if it failed.")] = False,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            envvar="ONNXFN_STORAGE",
            show_default=False,
            help="Go by the account's manifests container and queue: a connection string, or an account name.",
        ),
    ] = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Submit a manifest: JSON, JSON Lines, CSV or plain urls, checked before anything is sent.

    It goes to the service over HTTP; with --storage, or when it is too large for a request, to the storage account.

    Without --storage that account is the one of the shell's AzureWebJobsStorage, a connection string.
    """
    from inference.cli.client import Client
    from inference.cli.output import note, print_json
    from inference.cli.watch import watch

    client = Client(url, key)
    options = {
        "batch_id": batch_id,
        "model": model,
        "mini_batch_size": mini_batch_size,
        "error_threshold": error_threshold,
        "max_retries": max_retries,
        "callback_url": callback_url,
    }
    accepted = _send(manifest, {name: value for name, value in options.items() if value is not None}, storage, client)
    if wait:
        # Of one that waits no longer, by Ctrl-C or as the service is away, the batch goes on.
        note(f"Submitted {accepted['batch_id']}.")
        _finish(watch(client, accepted["batch_id"]), json)
    elif json:
        print_json(accepted)
    else:
        print(accepted["batch_id"])


@app.command()
def status(
    batch_id: BatchArgument, url: UrlOption = DEFAULT_URL, key: KeyOption = "", json: JsonOption = False
) -> None:
    """Tell how far a batch is."""
    from inference.cli.client import Client, Route
    from inference.cli.output import print_json

    reply = Client(url, key).read_json(str(Route("batches", batch_id)))
    if json:
        print_json(reply)
    else:
        _print_status(reply)


@app.command()
def results(
    batch_id: BatchArgument,
    format: Annotated[str, typer.Option("--format", metavar="jsonl|csv")] = "jsonl",  # noqa: A002 -- the option's name
    output: OutputOption = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Write the results of a batch that has ended: a row an image, in the manifest's order (--json: as JSON Lines)."""
    from inference.cli.client import Client, Route
    from inference.cli.failure import WrongCall
    from inference.cli.output import write_chunks

    if format not in {"jsonl", "csv"}:
        raise WrongCall(f"--format {format!r} is neither jsonl nor csv.")
    if json and format != "jsonl":
        raise WrongCall("--json and --format csv exclude each other.")
    client, route = Client(url, key), str(Route("batches", batch_id, "results"))
    stream = client.stream_ranges if format == "jsonl" else client.stream  # rows of a table are made as they go
    write_chunks(stream(route, {"format": format}), output)


@app.command()
def cancel(
    batch_id: BatchArgument, url: UrlOption = DEFAULT_URL, key: KeyOption = "", json: JsonOption = False
) -> None:
    """Stop a batch; images not yet scored end as failed, and can be replayed."""
    from inference.cli.client import Client, Route
    from inference.cli.output import print_json

    reply = Client(url, key).call("DELETE", str(Route("batches", batch_id)))
    if json:
        print_json(reply)
    else:
        _print_status(reply)


@app.command("list")
def list_batches(url: UrlOption = DEFAULT_URL, key: KeyOption = "", json: JsonOption = False) -> None:
    """List batches, the newest first."""
    from inference.cli.client import Client
    from inference.cli.output import print_json, print_table

    reply = Client(url, key).read_json("/batches")
    if json:
        print_json(reply)
        return
    columns = ("BATCH", "STATE", "TOTAL", "SUCCEEDED", "FAILED", "PENDING", "CREATED")
    names = ("batch_id", "state", "total", "succeeded", "failed", "pending", "created_at")
    print_table(columns, ([batch.get(name) for name in names] for batch in reply["batches"]))


def _send(manifest: str, options: dict[str, Any], storage: str | None, client: Client) -> dict[str, Any]:
    from inference.cli.failure import WrongCall
    from inference.cli.submission import encode_for_http, read_submission

    submission = read_submission(manifest, options)
    request = None if storage else encode_for_http(submission)
    if request is not None:
        body, content_type, query = request
        return client.call("POST", "/batches", query=query, body=body, content_type=content_type)
    storage = storage or os.environ.get("AzureWebJobsStorage")  # noqa: SIM112 -- the platform's spelling
    if not storage:
        raise WrongCall("The manifest is too large for a request; submit it with --storage.")
    from inference.cli.upload import upload

    return upload(submission, storage)


def _finish(reply: dict[str, Any], json: bool) -> None:
    from inference.cli.failure import Failure
    from inference.cli.output import print_json

    if json:
        print_json(reply)
    else:
        _print_status(reply)
    if reply["state"] != "succeeded":
        why = f": {_why(reply['error'])}" if reply.get("error") else "."
        raise Failure(f"The batch {reply['batch_id']} ended as {reply['state']}{why}")


def _print_status(reply: dict[str, Any]) -> None:
    from inference.cli.output import print_fields

    errors = ", ".join(f"{code} {count}" for code, count in (reply.get("errors") or {}).items())
    sure = ("batch_id", "state", "total", "succeeded", "failed", "pending")
    others = ("created_at", "updated_at", "eta_seconds")
    refusal = _why(reply["error"]) if reply.get("error") else None
    fields = [*((name, reply[name]) for name in sure), *((name, reply.get(name)) for name in others)]
    print_fields([*fields, ("errors", errors or None), ("error", refusal)])


def _why(error: dict[str, Any]) -> str:
    """Return why a manifest could not become a batch, as a person reads it."""
    return f"{error['message']} ({error['code']})"
