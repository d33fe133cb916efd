"""`onnxfn deadletter`: why images failed, and another try for them; it refuses to decide what can be replayed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inference.cli.options import (
    DEFAULT_URL,
    DryRunOption,
    IdleDryRunOption,
    JsonOption,
    KeyOption,
    OutputOption,
    UrlOption,
)
from inference.cli.selection import Selection, takes_selection

if TYPE_CHECKING:
    from inference.cli.client import Client

app = typer.Typer(help="Failed images: why, and another try.", no_args_is_help=True)

#: Records asked for at a time; the service gives a token for the next ones.
_PAGE_RECORDS = 1000
#: What a table shows when no limit is given; --json and show give everything.
_TABLE_RECORDS = 100


@app.command("list")
@takes_selection
def list_records(
    chosen: Selection,
    _dry_run: IdleDryRunOption = False,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """List dead letters, a line each."""
    from inference.cli.client import Client
    from inference.cli.output import note, print_json, print_table

    records = _read(Client(url, key), chosen)
    if json:
        print_json({"deadletters": list(records)})
        return
    shown = islice(records, chosen.limit or _TABLE_RECORDS)
    columns = ("BATCH", "INDEX", "ID", "CODE", "ATTEMPTS", "LAST", "URL")
    names = ("batch_id", "index", "id", "code", "attempts", "last_at", "url")
    print_table(columns, ([record.get(name) for name in names] for record in shown))
    if chosen.limit is None and next(records, None) is not None:
        note(f"There are more than these {_TABLE_RECORDS}: --limit N shows more, --json all.")


@app.command()
@takes_selection
def show(
    chosen: Selection,
    _dry_run: IdleDryRunOption = False,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Show dead letters whole: message, times, model, trace and the history of earlier rounds."""
    from inference.cli.client import Client
    from inference.cli.output import print_fields, print_json

    records = _read(Client(url, key), chosen)
    if json:
        print_json({"deadletters": list(records)})
        return
    for number, record in enumerate(records):
        if number:
            print()
        history = record.pop("history", None) or []
        rounds = (", ".join(f"{name} {value}" for name, value in earlier.items()) for earlier in history)
        print_fields([*record.items(), *(("before", earlier) for earlier in rounds)])


@app.command()
@takes_selection
def replay(
    chosen: Selection,
    dry_run: DryRunOption = False,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Try failed images again; the results of their batches are written anew when they have ended."""
    from inference.cli.client import Client
    from inference.cli.output import print_json

    asked = {**chosen.parameters(), "dry_run": dry_run}
    reply = Client(url, key).send_json("POST", "/deadletters/replay", asked)
    if json:
        print_json(reply)
        return
    print(f"{'Would replay' if dry_run else 'Replaying'} {_count(reply['replayed'])}.")
    for batch in reply["batches"]:
        print(f"  {batch['batch_id']}  round {batch['round']}, {_count(batch['items'])}")


@app.command()
@takes_selection
def purge(
    chosen: Selection,
    dry_run: DryRunOption = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, even when all would go.")] = False,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Forget dead letters; the failed rows stay in the results."""
    from inference.cli.client import Client
    from inference.cli.output import print_json

    if chosen.is_everything and not (dry_run or yes) and sys.stdin.isatty():
        typer.confirm("Purge every dead letter of every batch?", abort=True, err=True)
    asked = {**chosen.parameters(), "dry_run": dry_run}
    reply = Client(url, key).send_json("POST", "/deadletters/purge", asked)
    if json:
        print_json(reply)
        return
    print(f"{'Would purge' if dry_run else 'Purged'} {_count(reply['purged'])}.")


@app.command()
@takes_selection
def export(
    chosen: Selection,
    output: OutputOption = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    _json: JsonOption = False,
) -> None:
    """Write the failed images as a manifest (JSON Lines, with or without --json), ready for `onnxfn batch submit`."""
    from inference.cli.client import Client
    from inference.cli.output import write_chunks

    write_chunks(Client(url, key).stream("/deadletters/export", chosen.parameters()), output)


def _read(client: Client, chosen: Selection) -> Iterator[dict[str, Any]]:
    """Yield records, page after page, at most as many as were asked for."""
    token: str | None = None
    remaining = chosen.limit
    while remaining is None or remaining > 0:
        page = min(_PAGE_RECORDS, remaining) if remaining is not None else _PAGE_RECORDS
        reply = client.read_json("/deadletters", {**chosen.parameters(), "limit": page, "next": token})
        yield from reply["deadletters"]
        token = reply.get("next")
        if remaining is not None:
            remaining -= len(reply["deadletters"])
        if not token:
            return


def _count(items: int) -> str:
    return f"{items} image" if items == 1 else f"{items} images"
