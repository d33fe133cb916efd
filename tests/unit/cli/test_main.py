from __future__ import annotations

import subprocess
import sys

import pytest

from tests.unit.cli.service import Program

#: Slow to import, so no command may load them before it needs them.
HEAVY = {
    "aiohttp",
    "azure",
    "devhost",
    "msgspec",
    "numpy",
    "onnxruntime",
    "opentelemetry",
    "pydantic",
    "rich",
    "urllib.request",
}


def test_importing_the_program_loads_nothing_heavy() -> None:
    code = "import sys, inference.cli.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    assert not HEAVY & set(loaded)


@pytest.mark.parametrize(
    "group",
    [(), ("start",), ("score",), ("batch",), ("batch", "submit"), ("deadletter",), ("deadletter", "purge"), ("model",)],
)
def test_every_group_explains_itself(onnxfn: Program, group: tuple[str, ...]) -> None:
    done = onnxfn(*group, "--help")

    assert done.code == 0
    assert "Usage: onnxfn" in done.out


def test_the_version_is_printed(onnxfn: Program) -> None:
    assert onnxfn("--version").out.startswith("onnxfn 0.")


@pytest.mark.parametrize("arguments", [("nonsense",), ("batch", "nonsense"), ("score",), ("batch", "status")])
def test_a_call_that_cannot_be_is_2(onnxfn: Program, arguments: tuple[str, ...]) -> None:
    done = onnxfn(*arguments)

    assert (done.code, done.out) == (2, "")
    assert "Usage: onnxfn" in done.err


def test_no_service_is_1_and_says_what_to_do(onnxfn: Program) -> None:
    done = onnxfn("model", "list", "--url", "http://127.0.0.1:9")

    assert (done.code, done.out) == (1, "")
    assert done.err == "onnxfn: No service at http://127.0.0.1:9; start it with `onnxfn start`.\n"
