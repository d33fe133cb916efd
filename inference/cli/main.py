"""The `onnxfn` program: its command groups and the one place where a failure becomes an exit code.

It refuses to hold commands: each group has a module of its own.
"""

from __future__ import annotations

import logging
import sys
from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from inference.cli import batch, deadletter, model
from inference.cli.failure import ExitCode, Failure
from inference.cli.output import note, open_streams, printable
from inference.cli.score import score
from inference.cli.start import start

app = typer.Typer(
    name="onnxfn",
    help="Score images with the ONNX models of a service: one now, or a manifest of millions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(start)
app.command()(score)
app.add_typer(batch.app, name="batch")
app.add_typer(deadletter.app, name="deadletter")
app.add_typer(model.app, name="model")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"onnxfn {installed_version('onnx-functions')}")
        raise typer.Exit


@app.callback()
def _program(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Score images with the ONNX models of a service: one now, or a manifest of millions."""


def run() -> None:
    """Run the program and exit: 0 done, 1 the work failed, 2 the call was wrong."""
    # It warns in dozens of lines, once a call, of each login that it did not find; the failure says it in one.
    logging.getLogger("azure.identity").setLevel(logging.CRITICAL)
    open_streams()
    try:
        app(prog_name="onnxfn")
    except Failure as failure:
        note(f"onnxfn: {printable(failure)}")
        sys.exit(failure.exit_code)
    except OSError as error:  # a file that cannot be written, a disk that is full
        where = f"{error.filename}: " if error.filename else ""
        note(f"onnxfn: {printable(f'{where}{error.strerror or error}')}")
        sys.exit(ExitCode.WORK_FAILED)
    except UnicodeError:  # a name of bytes that are no text, where only text can be sent
        note("onnxfn: An argument is not UTF-8.")
        sys.exit(ExitCode.WRONG_CALL)
