"""Options that several commands share, so that they are spelled and explained once; it refuses to act on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

UrlOption = Annotated[str, typer.Option("--url", envvar="ONNXFN_URL", help="Where the service answers.")]
KeyOption = Annotated[
    str,
    typer.Option(
        "--key", envvar="ONNXFN_KEY", show_default=False, help="The function or host key; better in the variable."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout.")]
ModelOption = Annotated[
    str | None, typer.Option("--model", metavar="NAME[:VERSION]", help="The model; by default the service's own.")
]
BatchIdOption = Annotated[str | None, typer.Option("--batch-id", metavar="ID", help="Only those of this batch.")]
CodeOption = Annotated[
    str | None, typer.Option("--code", metavar="CODE", help="Only those that failed with this code.")
]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Only those since then: 2026-05-01, 2026-05-01T12:00Z, 90m, 6h, 2d."),
]
LimitOption = Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many.")]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to; stdout by default.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and do nothing.")]
#: Of commands that only look, so that a replay becomes a look at what it means by one other word.
IdleDryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Taken as replay takes it; nothing is changed anyway.")
]
RepositoryOption = Annotated[
    str | None,
    typer.Option(
        "--repository",
        metavar="FOLDER|URL",
        show_default=False,
        help="A folder, or the url of a container (and a prefix in it).",
    ),
]
RepositoryFolderOption = Annotated[
    str | None, typer.Option("--repository", metavar="FOLDER", show_default=False, help="The folder of a repository.")
]
RepositoryStorageOption = Annotated[
    str | None,
    typer.Option(
        "--storage",
        envvar="ONNXFN_STORAGE",
        show_default=False,
        help="How to reach a container: a connection string, else your Azure login is used.",
    ),
]

DEFAULT_URL = "http://localhost:7071"
