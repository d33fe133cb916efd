"""`onnxfn model add`: a version from an ONNX file, checked before it appears in the repository."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from inference.cli.options import JsonOption, RepositoryFolderOption


class TaskName(StrEnum):
    """What `--task` takes."""

    CLASSIFICATION = "classification"
    DETECTION = "detection"
    TEXT = "text"
    TENSOR = "tensor"


def _file_option(name: str, explanation: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(name, metavar="FILE", exists=True, dir_okay=False, help=explanation)
    return option


def add(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL.onnx",
            exists=True,
            show_default=False,
            help="The file, or a folder with model.onnx and all that belongs to it.",
        ),
    ],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="The model's name.", show_default=False)],
    version: Annotated[
        str | None, typer.Option("--version", metavar="N", help="By default one more than the highest.")
    ] = None,
    repository: RepositoryFolderOption = None,
    labels: Annotated[Path | None, _file_option("--labels", "One label a line.")] = None,
    declaration: Annotated[Path | None, _file_option("--declaration", "A model.toml of your own.")] = None,
    task: Annotated[TaskName | None, typer.Option("--task", help="What the model does, where it cannot tell.")] = None,
    golden: Annotated[
        Path | None, _file_option("--golden", "An image (or a text): its answer is kept and checked on every load.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make a version from an ONNX file: propose its model.toml, check that it can serve, then publish it in a folder.

    Nothing is left behind when the check fails. To change the proposal, give your own with --declaration.
    """
    from inference.cli.failure import WrongCall
    from inference.cli.inspection_report import report
    from inference.cli.output import note
    from inference.cli.repositories import choose_repository, require_folder, translate_failures
    from inference.models.authoring import NewVersion, make_version
    from inference.models.catalog import is_model_name, is_version
    from inference.models.publication import VersionExists

    if not is_model_name(name):
        raise WrongCall(f"--name {name!r} is not lower-case letters, digits, dots, dashes and underscores.")
    if version is not None and not is_version(version):
        raise WrongCall(f"--version {version!r} is not a number.")
    if task is not None and declaration is not None:
        raise WrongCall("--task belongs into the file that --declaration names.")
    folder = require_folder(choose_repository(repository))
    wanted = NewVersion(model, name, version, labels, declaration, str(task) if task else None, golden)
    try:
        with translate_failures():
            made = make_version(wanted, folder)
    except VersionExists as taken:
        raise WrongCall(f"There is a {name}:{taken} already; versions are never written over.") from None
    if not json and declaration is None and made.declaration:
        note(f"The version's model.toml; to change it, give your own with --declaration:\n\n{made.declaration}")
    path = str(made.version.path) if made.inspection.problem is None else None
    report(str(made.version), made.inspection, made.scored, as_json=json, path=path, declaration=made.declaration)
    if not json:
        print(f"  {'published':<12} {path}")
