"""The Bicep compiler accepts the templates, where there is one: no package index carries it, so set-up cannot."""

import json
import shutil
import subprocess

import pytest

from tests.infra.bicep import FOLDER, ROOT

BICEP = shutil.which("bicep")


@pytest.mark.skipif(BICEP is None, reason="the bicep program is not on PATH")
@pytest.mark.parametrize("name", ["main.bicep", "api.bicep"])
def test_the_compiler_finds_no_fault(name: str) -> None:
    done = subprocess.run(
        [str(BICEP), "build", "--stdout", FOLDER / name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["resources"]
