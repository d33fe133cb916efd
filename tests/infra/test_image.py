"""The image: locked packages, an allow-list of files, the sample models, no secret."""

import re
from pathlib import PurePosixPath

import pytest

from inference.settings import Settings
from tests.infra.bicep import ROOT
from tests.infra.test_code_parity import IMAGE_REPOSITORY

DOCKERFILE = (ROOT / "Dockerfile").read_text()
INSTRUCTIONS = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
WWWROOT = "/home/site/wwwroot"


def arguments(instruction: str) -> list[list[str]]:
    return [line.split()[1:] for line in INSTRUCTIONS if line.startswith(instruction + " ")]


def environment() -> dict[str, str]:
    return dict(word.split("=", 1) for words in arguments("ENV") for word in words)


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets a file through: the last pattern that matches it or a parent decides."""
    parts = PurePosixPath(path).parts
    ancestry = [PurePosixPath(*parts[: length + 1]) for length in range(len(parts))]
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            if any(name.full_match(pattern) for name in ancestry):
                sent = line.startswith("!")
    return sent


def test_the_base_is_the_functions_image_of_this_python() -> None:
    assert arguments("ARG") == [["TAG=4-python3.13"]]
    assert arguments("FROM") == [["mcr.microsoft.com/azure-functions/python:${TAG}"]]


def test_packages_are_the_locked_ones_and_are_never_built() -> None:
    (install,) = [line for line in INSTRUCTIONS if "pip" in line]

    assert "--require-hashes" in install
    assert "--only-binary :all:" in install
    assert "--no-cache-dir" in install
    assert re.findall(r"-r\s+(\S+)", install) == ["/requirements.txt"]
    locked = re.findall(r"^([a-z0-9._-]+)==\S+.*\\$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert {"azure-functions", "azure-functions-runtime", "onnxruntime"} <= set(locked)


def test_packages_lie_where_the_worker_puts_them_before_its_own() -> None:
    # What its proxy_worker/utils/dependency.py takes for an app's packages, in every version: the first of `sys.path`
    # that lies in the script root and names site-packages. It prefers those that it brings itself to all others.
    (install,) = [line for line in INSTRUCTIONS if "pip" in line]
    names = environment()

    assert names["PYTHONPATH"] == f"{WWWROOT}/.python_packages/lib/site-packages"
    assert re.findall(r"--target\s+(\S+)", install) == [names["PYTHONPATH"]]
    # Hundreds of folders there, each with a watch of its own.
    assert names["AzureFunctionsJobHost__fileWatchingEnabled"] == "false"


def test_the_app_is_compiled_in_the_image() -> None:
    # The host starts anew when a folder, as `__pycache__`, appears beside function_app.py.
    (compiled,) = [line for line in INSTRUCTIONS if "compileall" in line]

    assert compiled.split()[-2:] == [f"{WWWROOT}/function_app.py", f"{WWWROOT}/inference"]


def test_only_what_serves_is_copied() -> None:
    copies = arguments("COPY")

    assert [copy[:-1] for copy in copies] == [
        ["requirements.txt"],
        ["scripts/start-host"],
        ["samples/models/"],
        ["function_app.py", "host.json"],
        ["inference/"],
    ]
    for source in [source for copy in copies for source in copy[:-1]]:
        assert (ROOT / source).exists()
        assert is_sent(source.rstrip("/"))
    assert not arguments("ADD")


@pytest.mark.parametrize(
    "path",
    [
        "local.settings.json",
        ".env",
        ".git/config",
        ".venv/bin/python",
        "node_modules/azurite/package.json",
        ".azurite/__azurite_db_blob__.json",
        ".azure/dev/.env",
        "tests/conftest.py",
        "infra/bicep/main.bicep",
        "devhost/host.py",
        "scripts/setup",
        "samples/train_digits.py",
        "inference/__pycache__/settings.cpython-313.pyc",
        "inference/batch/__pycache__/layout.cpython-313.pyc",
    ],
)
def test_nothing_else_is_sent_to_the_builder(path: str) -> None:
    assert not is_sent(path)


@pytest.mark.parametrize(
    "path", ["function_app.py", "inference/batch/layout.py", "inference/py.typed", "samples/models/digits/1/model.onnx"]
)
def test_what_serves_is_sent_to_the_builder(path: str) -> None:
    assert is_sent(path)


def test_files_have_no_line_ends_of_windows_in_the_image() -> None:
    # `azd up` sends the files of the checkout. A carriage return breaks scripts/start-host and a model's checksums.
    rules = [line for line in (ROOT / ".gitattributes").read_text().splitlines() if not line.startswith("#")]

    assert rules == ["* -text"]


def test_the_sample_models_are_where_the_settings_look_for_them() -> None:
    assert environment()["INFERENCE_MODEL_REPOSITORY"] == IMAGE_REPOSITORY
    assert ["samples/models/", f"{IMAGE_REPOSITORY}/"] in arguments("COPY")
    default = Settings().models
    assert (ROOT / "samples/models" / default.default_model.partition(":")[0]).is_dir()


def test_the_image_says_where_the_app_is_and_holds_no_secret() -> None:
    names = environment()

    assert names["AzureWebJobsScriptRoot"] == WWWROOT
    assert not re.search(r"key|secret|password|token|connection", " ".join([*names, *names.values()]), re.IGNORECASE)


def test_its_health_check_asks_the_health_route() -> None:
    (check,) = [line for line in INSTRUCTIONS if line.startswith("HEALTHCHECK ")]

    assert "http://localhost/api/health" in check
    assert arguments("EXPOSE") == [["80"]]
