"""Fixtures that every folder of tests may use: real photos and models, real storage, a clean environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from devhost.azurite import Azurite

_REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the product's own settings out of the environment, so that a developer's shell cannot change a test."""
    for name in [*os.environ]:
        if name.startswith(("INFERENCE_", "AzureWebJobsStorage")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real photos and models that lives outside of the repository; tests skip where it is missing."""
    folder = Path(os.environ.get("ONNXFN_TEST_ASSETS") or _REPOSITORY.parent / "shared/assets")
    if not folder.is_dir():
        pytest.skip("no test assets: set ONNXFN_TEST_ASSETS to their folder")
    return folder


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The connection string of a running Azurite. Without Azurite tests skip, in CI they fail."""
    executable = Path(os.environ.get("AZURITE_BIN") or _REPOSITORY / "node_modules/.bin/azurite")
    if not executable.exists():
        if os.environ.get("CI"):
            pytest.fail("Azurite is not installed, and CI must not pass without it")
        pytest.skip("Azurite is not installed: run make setup")
    with Azurite(tmp_path_factory.mktemp("azurite"), executable=executable) as running:
        yield running.connection_string
