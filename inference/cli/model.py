"""`onnxfn model`: what is served, and versions on their way into a repository."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inference.cli.model_add import add
from inference.cli.options import (
    DEFAULT_URL,
    JsonOption,
    KeyOption,
    RepositoryOption,
    RepositoryStorageOption,
    UrlOption,
)

if TYPE_CHECKING:
    from inference.models.source import ModelSource

app = typer.Typer(help="Models that the service has, and versions of them.", no_args_is_help=True)
app.command("add")(add)


@app.callback()
def _group() -> None:
    """Models that the service has, and versions of them."""


@app.command("list")
def list_models(
    repository: RepositoryOption = None,
    storage: RepositoryStorageOption = None,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """List the models that the service has, or with --repository what is published there."""
    from inference.cli.output import print_json, print_table

    if repository is not None:
        _list_repository(repository, storage, json)
        return
    from inference.cli.client import Client

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


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Show a model that the service has, loading it first: versions, task, and the plan that its runs follow."""
    from inference.cli.client import Client, Route
    from inference.cli.output import print_json, print_table

    model = Client(url, key).read_json(str(Route("models", name)))
    if json:
        print_json(model)
        return
    labels, canary = model["labels"] or [], model["canary"]
    rows: list[tuple[str, object]] = [
        ("version", model["version"]),
        ("versions", ", ".join(f"{version['version']} ({version['state']})" for version in model["versions"])),
        *([("canary", f"{canary['version']} takes {canary['share']:.4g} of the requests")] if canary else []),
        ("state", model["state"]),
        *([("reason", model["reason"])] if model["reason"] else []),
        ("task", model["task"]),
        ("labels", f"{len(labels)}: {', '.join(labels[:5])}{', …' if len(labels) > 5 else ''}" if labels else None),
        ("sha256", model["sha256"]),
        *((f"execution.{part}", value) for part, value in (model["execution"] or {}).items()),
    ]
    print_table(("MODEL", model["name"]), rows)


@app.command()
def check(
    target: Annotated[str, typer.Argument(metavar="PATH|NAME[:VERSION]", show_default=False)],
    repository: RepositoryOption = None,
    image: Annotated[
        Path | None, typer.Option("--image", metavar="IMAGE", exists=True, dir_okay=False, help="Score it too.")
    ] = None,
    score_scripts: Annotated[
        bool,
        typer.Option(
            "--score-scripts",
            envvar="INFERENCE_SCORE_SCRIPTS",
            help="Run a version's own score.py, with all your rights; without it such a version fails.",
        ),
    ] = False,
    storage: RepositoryStorageOption = None,
    json: JsonOption = False,
) -> None:
    """Take every step that the service takes before a version serves, and say which one fails and why."""
    from inference.cli.inspection_report import report
    from inference.cli.repositories import choose_repository, translate_failures, use_source
    from inference.models.catalog import parse_reference
    from inference.models.inspection import Inspection, ScoredFile, inspect_version, score_file
    from inference.models.repository import open_folder
    from inference.models.source import LocalVersion

    def inspect(local: LocalVersion) -> tuple[str, Inspection, ScoredFile | None]:
        inspection = inspect_version(local.version, score_scripts=score_scripts)
        scored = None
        if image is not None and inspection.session is not None and inspection.problem is None:
            scored = score_file(inspection.session, image.read_bytes())
        return str(local.version), inspection, scored

    async def fetch_and_inspect(source: ModelSource) -> tuple[str, Inspection, ScoredFile | None]:
        name, version = parse_reference(target)
        model = (await source.survey()).find(name)
        return inspect(await source.fetch(model.release(version) if version else model.candidates()[0]))

    if Path(target).is_dir():
        with translate_failures():
            outcome = inspect(LocalVersion(open_folder(Path(target)), 0))
    else:
        outcome = use_source(choose_repository(repository), storage, fetch_and_inspect)
    report(*outcome, as_json=json)


@app.command()
def publish(
    path: Annotated[Path, typer.Argument(metavar="PATH", exists=True, file_okay=False, show_default=False)],
    container_url: Annotated[str, typer.Argument(metavar="CONTAINER_URL", show_default=False)],
    storage: RepositoryStorageOption = None,
    json: JsonOption = False,
) -> None:
    """Upload the version folder PATH (…/NAME/VERSION) to a container, its manifest last; doing so twice is once."""
    from inference.cli.failure import WrongCall
    from inference.cli.output import print_json, progress_bytes
    from inference.cli.repositories import use_container
    from inference.models.catalog import is_model_name, is_version
    from inference.models.publication import VersionExists, publish_version
    from inference.storage import BlobStore

    folder = path.resolve()
    name, version = folder.parent.name, folder.name
    if not (is_model_name(name) and is_version(version)):
        raise WrongCall(f"{path} does not end in NAME/VERSION.")

    async def upload(blobs: BlobStore, prefix: str) -> bool:
        total = sum(file.stat().st_size for file in folder.iterdir())
        with progress_bytes(f"Publishing {name}:{version}", total) as advance:
            return await publish_version(folder, blobs, prefix, advance)

    try:
        is_new = use_container(container_url, storage, upload)
    except VersionExists:
        raise WrongCall(f"Another {name}:{version} is published there; publish this one under a new number.") from None
    if json:
        print_json({"model": name, "version": version, "published": is_new})
    else:
        print(f"{name}:{version} {'is published.' if is_new else 'was published already.'}")


@app.command()
def remove(
    reference: Annotated[str, typer.Argument(metavar="NAME:VERSION", show_default=False)],
    repository: RepositoryOption = None,
    storage: RepositoryStorageOption = None,
    json: JsonOption = False,
) -> None:
    """Take a version back: its manifest first, so that nobody begins to load it, then its files."""
    from inference.cli.failure import WrongCall
    from inference.cli.output import print_json
    from inference.cli.repositories import choose_repository, require_folder, translate_failures, use_container
    from inference.models.catalog import parse_reference
    from inference.models.location import is_url
    from inference.models.publication import remove_version, remove_version_folder

    with translate_failures():
        name, version = parse_reference(reference)
    if version is None:
        raise WrongCall(f"{reference!r} is not NAME:VERSION.")
    chosen = choose_repository(repository)
    if is_url(chosen):
        use_container(chosen, storage, lambda blobs, prefix: remove_version(blobs, prefix, name, version))
    else:
        with translate_failures():
            remove_version_folder(require_folder(chosen), name, version)
    if json:
        print_json({"model": name, "version": version, "removed": True})
    else:
        print(f"{name}:{version} is removed.")


def _list_repository(repository: str, storage: str | None, json: bool) -> None:
    from inference.cli.output import print_json, print_table
    from inference.cli.repositories import use_source

    async def survey(source: ModelSource) -> list[dict[str, object]]:
        return [model.describe() for model in (await source.survey()).models.values()]

    models = use_source(repository, storage, survey)
    if json:
        print_json({"models": models})
        return
    columns = ("name", "version", "versions", "canary", "problem")
    rows = [[_shown(model[column]) for column in columns] for model in models]
    print_table(("NAME", "SERVES", "VERSIONS", "CANARY", "PROBLEM"), rows)


def _shown(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list) else value
