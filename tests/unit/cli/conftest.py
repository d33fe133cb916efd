"""The program run in this process against a service on a real socket."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from inference.cli import main
from tests.unit.cli.service import Done, Program, Service, running_service


@pytest.fixture
def service() -> Iterator[Service]:
    with running_service() as service:
        yield service


@pytest.fixture
def onnxfn(service: Service, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Program:
    """Run `onnxfn` with arguments; the service's url is its default."""
    for name in [*os.environ]:
        if name.startswith("ONNXFN_") or name in {"FORCE_COLOR", "PY_COLORS"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("ONNXFN_URL", service.url)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["onnxfn", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.run()
        captured = capfd.readouterr()
        return Done(int(ended.value.code or 0), captured.out, captured.err)

    return run
