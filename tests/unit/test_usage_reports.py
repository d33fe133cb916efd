"""onnxruntime's reports of its own use: with this package imported first it makes none, and leaves nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_MODEL = Path(__file__).resolve().parents[2] / "samples/models/digits/1/model.onnx"
_PROGRAM = f"""
import os, sys
import {{package}}
import onnxruntime
onnxruntime.InferenceSession({str(_MODEL)!r})
"""


def _files_left_by(package: str, home: Path) -> list[str]:
    """Run in an environment of its own: onnxruntime also keeps still where a variable says that it is a CI machine."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home), "XDG_CACHE_HOME": str(home)}
    program = [sys.executable, "-c", _PROGRAM.format(package=package)]
    subprocess.run(program, env=environment, check=True, cwd=Path(__file__).resolve().parents[2])
    return [path.name for path in home.rglob("*") if path.is_file()]


@pytest.mark.parametrize("package", ["inference", "inference.models.session", "function_app"])
def test_nothing_is_left_in_the_home_folder(package: str, tmp_path: Path) -> None:
    assert _files_left_by(package, tmp_path) == []


def test_onnxruntime_alone_would_report(tmp_path: Path) -> None:
    """When this fails, onnxruntime has stopped it, and the line in `inference` can go."""
    assert "deviceid" in _files_left_by("sys", tmp_path)
