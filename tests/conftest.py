"""Fixtures that every folder of tests may use: real photos and models, real storage, a clean environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import inference  # noqa: F401  # before any test's own import of onnxruntime: it keeps that from phoning home
from devhost.azurite import ACCOUNT, ACCOUNT_KEY, Azurite

_REPOSITORY = Path(__file__).resolve().parents[1]

#: Declared when Azurite starts, which is the only time it reads them in time.
_ACCOUNTS = 500

#: Settings of the product, of its host and of their libraries, by how their names begin.
_SETTINGS = (
    *("INFERENCE_", "DEVHOST_", "AzureWebJobs", "AzureFunctionsJobHost", "FUNCTIONS_", "WEBSITE_"),
    *("OTEL_", "APPLICATIONINSIGHTS_"),
)
#: What makes a program print colours into a pipe, or not into a terminal.
_COLOURS = {"FORCE_COLOR", "NO_COLOR", "PY_COLORS", "CLICOLOR_FORCE", "GITHUB_ACTIONS"}

# Properties are tried with the same examples each time, as slowly as the machine likes: a change is judged by what it
# changes, not by its luck. `--hypothesis-profile=explore` looks for new ones.
settings.register_profile("gate", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", settings.get_profile("gate"), derandomize=False, max_examples=1000)
settings.load_profile("gate")


def pytest_configure() -> None:
    """Clean the environment, so that neither a developer's shell nor a CI machine's can change a test.

    Done before anything is imported or started: Typer looks at its import, and hosts inherit all of it. A proxy would
    be asked for what tests serve on loopback.
    """
    for name in [*os.environ]:
        if name.startswith(_SETTINGS) or name in _COLOURS or name.lower().endswith("_proxy"):
            del os.environ[name]


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
