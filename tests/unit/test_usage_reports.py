"""Reports of libraries on their own use: with this package imported first they make none, and leave nothing behind."""

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

_EXPORTER = """
import {package}
from azure.monitor.opentelemetry.exporter._configuration import _state as configuration
from azure.monitor.opentelemetry.exporter.statsbeat._state import is_statsbeat_enabled
print(is_statsbeat_enabled(), configuration.get_configuration_manager() is not None)
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


def _exporter_after(package: str) -> str:
    """Tell whether Azure Monitor's exporter would report its use, and whether it would ask for settings."""
    program = [sys.executable, "-c", _EXPORTER.format(package=package)]
    root = Path(__file__).resolve().parents[2]
    return subprocess.check_output(program, env={"PATH": os.environ["PATH"]}, cwd=root, text=True).strip()


def test_the_exporter_of_azure_monitor_neither_reports_nor_asks() -> None:
    assert _exporter_after("inference") == "False False"


def test_the_exporter_alone_would_do_both() -> None:
    """When this fails, it has stopped it, and the lines in `inference` can go."""
    assert _exporter_after("sys") == "True True"
