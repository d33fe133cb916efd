"""Fixtures that every folder of tests may use: real photos and models, real storage, a clean environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import inference  # noqa: F401  # before any test's own import of onnxruntime: it keeps that from phoning home
from devhost.azurite import ACCOUNT, ACCOUNT_KEY, Azurite

_REPOSITORY = Path(__file__).resolve().parents[1]

#: Declared when Azurite starts, which is the only time it reads them in time.
_ACCOUNTS = 500


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
def azurite_executable() -> Path:
    """The Azurite program; without it tests skip, in CI they fail."""
    executable = Path(os.environ.get("AZURITE_BIN") or _REPOSITORY / "node_modules/.bin/azurite")
    if not executable.exists():
        if os.environ.get("CI"):
            pytest.fail("Azurite is not installed, and CI must not pass without it")
        pytest.skip("Azurite is not installed: run make setup")
    return executable


@pytest.fixture(scope="session")
def new_account(tmp_path_factory: pytest.TempPathFactory, azurite_executable: Path) -> Iterator[Callable[[], str]]:
    """Give the connection string of an account that no other test uses, in one running Azurite.

    Two hosts on one account would take each other's messages.
    """
    names = [f"account{number:03d}" for number in range(_ACCOUNTS)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZURITE_ACCOUNTS", ";".join(f"{name}:{ACCOUNT_KEY}" for name in names))
        azurite = Azurite(tmp_path_factory.mktemp("azurite"), executable=azurite_executable)
        azurite.start()
    unused = iter(names)
    try:
        yield lambda: azurite.connection_string.replace(ACCOUNT, next(unused))
    finally:
        azurite.stop()


@pytest.fixture(scope="module")
def azurite(new_account: Callable[[], str]) -> str:
    """The connection string of an account of a running Azurite, this module's own."""
    return new_account()
