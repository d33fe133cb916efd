"""The import direction of the design, read from the source: arrows point one way, and vendors stay in their place."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "inference"

#: Layers from the edge inwards; a module imports from its own layer or a later one only.
LAYERS = (
    ("function_app",),
    ("wiring",),
    ("services",),
    ("cli",),
    ("http",),
    ("pinned",),
    ("batch",),
    ("scorer",),
    ("fetch", "models"),
    ("engine", "image"),
    ("storage", "exporters"),
    ("telemetry", "deadline", "draining", "schema", "cancellation"),
    ("settings", "redaction"),
    ("errors", "imports"),
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

#: Which modules may import a vendor's package.
PLACES = {
    "azure.functions": ("function_app",),
    "azure.storage": ("storage",),
    "azure.core": ("storage",),
    "azure.identity": ("storage", "exporters"),
    "onnxruntime": ("models", "engine"),
    "PIL": ("image",),
    "aiohttp": ("fetch", "storage"),
    "typer": ("cli",),
    "rich": ("cli",),
    "werkzeug": ("http",),
    "devhost": ("cli",),
}


def sources() -> Iterator[tuple[str, Path]]:
    """Yield (part of the map, file) of everything that ships."""
    yield "function_app", ROOT / "function_app.py"
    for path in sorted(PACKAGE.rglob("*.py")):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part != "__init__":
            yield part, path


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports, wherever in the file; imports for type checkers alone count too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


FILES = [pytest.param(part, path, id=path.relative_to(ROOT).as_posix()) for part, path in sources()]


@pytest.mark.parametrize(("part", "path"), FILES)
def test_imports_point_inwards(part: str, path: Path) -> None:
    for name in imports(path):
        inner = name.split(".")[1] if name.startswith("inference.") else None
        if inner in (None, "__version__", part):
            continue
        assert RANK[inner] > RANK[part], f"{part} imports {name}"


@pytest.mark.parametrize(("part", "path"), FILES)
def test_vendors_stay_where_the_design_puts_them(part: str, path: Path) -> None:
    for name in imports(path):
        for vendor, places in PLACES.items():
            if name == vendor or name.startswith(f"{vendor}."):
                assert part in places, f"{part} imports {name}"


def test_the_local_host_knows_nothing_of_the_product() -> None:
    for path in (ROOT / "devhost").rglob("*.py"):
        assert not [name for name in imports(path) if name.split(".")[0] in {"inference", "function_app"}], path


def test_no_module_is_a_drawer_of_odds_and_ends() -> None:
    shunned = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base"}
    names = {path.stem for folder in ("inference", "devhost") for path in (ROOT / folder).rglob("*.py")}

    assert not names & shunned
