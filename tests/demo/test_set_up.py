"""The set-up's decisions, in a copy of the scripts with programs on PATH that a test makes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from inference.settings import declared

ROOT = Path(__file__).resolve().parents[2]
#: What the scripts themselves call, and nothing else: no Python, no node.
TOOLS = ("sh", "cat", "cksum", "cp", "dirname", "grep", "mkdir")
NO_PYTHON = "#!/bin/sh\necho 'pyenv: python3.13: command not found' >&2\nexit 127\n"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder that is all of PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).symlink_to(shutil.which(tool) or tool)
    return folder


def add_program(folder: Path, name: str, script: str) -> None:
    """Put an executable script on PATH."""
    (folder / name).write_text(script)
    (folder / name).chmod(0o755)


def run(script: Path, programs: Path, home: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a script with nothing of this machine but `programs`."""
    clean = {"PATH": str(programs), "HOME": str(home), **environ}
    return subprocess.run([script], env=clean, capture_output=True, text=True, check=False)


def is_installed_system_wide() -> bool:
    """Tell whether the script finds a Python where this test cannot hide it."""
    places = ["/usr/local/bin/python3.13", "/opt/homebrew/bin/python3.13"]
    return any(Path(place).exists() for place in places) or any(Path("/opt/python").glob("3.13*"))


def test_a_python_that_does_not_work_is_passed_over(programs: Path, tmp_path: Path) -> None:
    add_program(programs, "python3.13", NO_PYTHON)
    add_program(programs, "python3", "#!/bin/sh\nexit 1\n")
    (programs / "python").symlink_to(sys.executable)

    done = run(ROOT / "scripts/find-python", programs, tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert Path(done.stdout.strip()).exists()


def test_one_that_pyenv_has_built_is_found_though_its_shim_fails(programs: Path, tmp_path: Path) -> None:
    add_program(programs, "python3.13", NO_PYTHON)
    built = tmp_path / ".pyenv/versions/3.13.9/bin"
    built.mkdir(parents=True)
    (built / "python3").symlink_to(sys.executable)

    assert run(ROOT / "scripts/find-python", programs, tmp_path).returncode == 0


@pytest.mark.skipif(is_installed_system_wide(), reason="this machine has one in a place that is always tried")
def test_where_there_is_none_the_message_says_what_to_install(programs: Path, tmp_path: Path) -> None:
    add_program(programs, "python3.13", NO_PYTHON)

    done = run(ROOT / "scripts/find-python", programs, tmp_path)

    assert (done.returncode, done.stdout) == (1, "")
    assert "No working Python 3.13 found" in done.stderr
    assert "brew install python@3.13" in done.stderr


def test_the_one_that_is_pointed_at_must_work(programs: Path, tmp_path: Path) -> None:
    done = run(ROOT / "scripts/find-python", programs, tmp_path, PYTHON="/no/such/python")

    assert done.returncode == 1
    assert done.stderr.startswith("PYTHON=/no/such/python is not a working Python 3.13")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in a path with spaces, its Python environment already made."""
    folder = tmp_path / "a checkout"
    shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("requirements.in", "requirements-dev.txt", "pyproject.toml", "package-lock.json"):
        shutil.copy(ROOT / name, folder)
    shutil.copy(ROOT / "local.settings.sample.json", folder)
    names = ("requirements-dev.txt", "requirements.in", "pyproject.toml")
    (folder / ".venv").mkdir()
    (folder / ".venv/.stamp").write_text(fingerprint(folder, *names))
    return folder


def fingerprint(checkout: Path, *names: str) -> str:
    """Return what the set-up writes into a stamp."""
    content = f"{checkout.resolve()}\n".encode() + b"".join((checkout / name).read_bytes() for name in names)
    return subprocess.run(
        [shutil.which("cksum") or "cksum"], input=content, check=True, capture_output=True
    ).stdout.decode()


NPM = """#!/bin/sh
echo "$*" >>npm.calls
mkdir -p node_modules
[ ! -e npm.fails ] || { echo 'npm says why'; exit 1; }
"""


def test_a_second_run_calls_nothing(checkout: Path, programs: Path, tmp_path: Path) -> None:
    add_program(programs, "node", "#!/bin/sh\necho 20\n")
    add_program(programs, "npm", NPM)

    first = run(checkout / "scripts/setup", programs, tmp_path)
    second = run(checkout / "scripts/setup", programs, tmp_path)

    assert (first.returncode, first.stdout) == (0, "Installing Azurite ...\n")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert (checkout / "npm.calls").read_text() == "ci --no-audit --no-fund\n"


def test_a_changed_lock_installs_again(checkout: Path, programs: Path, tmp_path: Path) -> None:
    add_program(programs, "node", "#!/bin/sh\necho 22\n")
    add_program(programs, "npm", NPM)
    run(checkout / "scripts/setup", programs, tmp_path)

    with (checkout / "package-lock.json").open("a") as lock:
        lock.write("\n")
    run(checkout / "scripts/setup", programs, tmp_path)

    assert len((checkout / "npm.calls").read_text().splitlines()) == 2


def test_a_failed_install_shows_its_output_and_is_tried_again(checkout: Path, programs: Path, tmp_path: Path) -> None:
    add_program(programs, "node", "#!/bin/sh\necho 20\n")
    add_program(programs, "npm", NPM)
    (checkout / "npm.fails").touch()

    failed = run(checkout / "scripts/setup", programs, tmp_path)
    (checkout / "npm.fails").unlink()

    assert failed.returncode == 1
    assert "npm says why" in failed.stderr
    assert run(checkout / "scripts/setup", programs, tmp_path).returncode == 0


@pytest.mark.parametrize("node", [None, "#!/bin/sh\necho 18\n"])
def test_without_node_20_the_message_says_what_to_install(
    checkout: Path, programs: Path, tmp_path: Path, node: str | None
) -> None:
    if node:
        add_program(programs, "node", node)

    done = run(checkout / "scripts/setup", programs, tmp_path)

    assert done.returncode == 1
    assert "Node.js 20 or later with npm is needed" in done.stderr


def test_settings_of_the_developer_are_left_alone(checkout: Path, programs: Path, tmp_path: Path) -> None:
    add_program(programs, "node", "#!/bin/sh\necho 20\n")
    add_program(programs, "npm", NPM)
    run(checkout / "scripts/setup", programs, tmp_path)
    settings = checkout / "local.settings.json"
    assert settings.read_text() == (ROOT / "local.settings.sample.json").read_text()

    settings.write_text("mine")
    run(checkout / "scripts/setup", programs, tmp_path)

    assert settings.read_text() == "mine"


@pytest.mark.parametrize("script", ["bench", "find-python", "lock", "setup", "start"])
def test_scripts_are_executable_and_parse(script: str) -> None:
    path = ROOT / "scripts" / script

    assert os.access(path, os.X_OK)
    assert subprocess.run([shutil.which("sh") or "sh", "-n", path], check=False).returncode == 0


def test_the_sample_settings_are_the_declared_defaults_on_local_storage() -> None:
    values = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    # An identity (AzureWebJobsStorage__...) is for Azure; beside a connection string it would only confuse.
    defaults = {setting.name: setting.default for setting in declared() if "__" not in setting.name}

    assert values == {
        **defaults,
        "FUNCTIONS_WORKER_RUNTIME": "python",
        "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    }
