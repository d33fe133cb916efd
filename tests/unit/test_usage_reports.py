"""Reports that dependencies make of their own use: with this package imported first there are none."""

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


_AZURE_PROGRAM = """
import os, socket, sys
import {package}

def refuse(*_, **__):
    raise socket.gaierror("no network in this test")

socket.getaddrinfo = refuse
from azure.monitor.opentelemetry import configure_azure_monitor
from azure.monitor.opentelemetry.exporter._configuration._state import get_configuration_manager
from azure.monitor.opentelemetry.exporter.statsbeat._state import get_statsbeat_manager

endpoint = "https://westeurope-5.in.applicationinsights.azure.com/"
key = "00000000-0000-0000-0000-000000000001"
configure_azure_monitor(connection_string=f"InstrumentationKey={{key}};IngestionEndpoint={{endpoint}}")
print(get_configuration_manager() is not None, get_statsbeat_manager().get_current_config() is not None)
sys.stdout.flush()
os._exit(0)  # the exporter's threads would try to send
"""


def _azure_asks_and_reports(package: str, home: Path) -> list[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home)}
    program = [sys.executable, "-c", _AZURE_PROGRAM.format(package=package)]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(program, env=environment, check=True, cwd=root, capture_output=True, text=True)
    return done.stdout.split()


def test_azure_monitor_is_told_no_more_than_the_operators_own_resource(tmp_path: Path) -> None:
    assert _azure_asks_and_reports("inference", tmp_path) == ["False", "False"]


def test_the_exporter_alone_would_ask_and_report(tmp_path: Path) -> None:
    """When this fails, Azure Monitor's exporter has stopped it, and the lines in `inference` can go."""
    assert _azure_asks_and_reports("sys", tmp_path) == ["True", "True"]
