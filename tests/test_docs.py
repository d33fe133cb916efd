"""The docs say what the code does: settings, error codes, and links that lead somewhere."""

import json
import re
from pathlib import Path

import pytest

from inference.http.openapi import failures
from inference.settings import declared

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), ROOT / "samples/README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_every_setting_is_in_the_table_as_the_code_declares_it() -> None:
    text = (ROOT / "docs/reference/settings.md").read_text()
    rows = [row for row in text.splitlines() if row.startswith(("| `INFERENCE_", "| `AzureWebJobsStorage"))]

    assert rows == [
        f"| `{setting.name}` | {f'`{setting.default}`' if setting.default else ''} | {setting.doc} |"
        for setting in declared()
    ]


def test_every_setting_has_a_local_value_in_the_sample() -> None:
    values = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    names = {setting.name for setting in declared() if setting.name.startswith("INFERENCE_")}

    assert {name for name in values if name.startswith("INFERENCE_")} == names


def test_every_error_code_is_in_the_table_with_its_status_and_whether_it_is_tried_again() -> None:
    text = (ROOT / "docs/reference/errors.md").read_text()
    rows = set(re.findall(r"^\| `(\w+)` \| (\d+) \| (yes|no) \|", text, re.MULTILINE))

    assert rows == {(row["code"], str(row["status"]), "yes" if row["retryable"] else "no") for row in failures.codes()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_to_headings_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", page.read_text()):
        text = (page.parent / target if target else page).read_text()
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in anchors, f"{page.name} links to {target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_that_a_page_names_exist(page: Path) -> None:
    folders = "benchmarks|devhost|docs|inference|infra|samples|scripts|tests"
    for name in re.findall(rf"(?<=`)(?:{folders})/[\w./-]+", page.read_text()):
        assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_nothing_committed_names_the_machines_this_was_built_on() -> None:
    pattern = re.compile(r"/work/|/tmp/w/|\.library|find-links|extra-index-url|--index-url")
    folders = ("inference", "devhost", "docs", "infra", "samples", "scripts", "benchmarks")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    files += [path for path in ROOT.iterdir() if path.is_file()]
    for path in files:
        if path.suffix in {".py", ".md", ".txt", ".in", ".json", ".bicep", ".yaml", ".toml", ".sh", ""}:
            assert not pattern.search(path.read_text(errors="replace")), path
