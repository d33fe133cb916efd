"""Hostile and broken versions, from a folder and from a container: each refused with a reason, and the others serve."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from inference.errors import ModelUnavailable, ModelVersionNotFound
from inference.models.loading import load_ready_session
from inference.models.manifest import MANIFEST_NAME, MODEL_NAME, write_manifest
from inference.models.registry import ModelRegistry
from inference.models.repository import ModelRepository, ModelVersion
from inference.models.session import ModelSession
from inference.models.source import FolderSource
from inference.storage import BlobStore
from tests.models.conftest import PREFIX, NewSource
from tests.models.hostile import ANYWHERE, ON_DISK, SECRET, Make, huge_constant
from tests.unit.models.published import pixels_as_logits, weighted_model, write_version


@pytest.fixture
def local(tmp_path: Path) -> Path:
    folder = tmp_path / "local"
    write_version(folder, pixels_as_logits(), name="good")
    return folder


def make_bad(local: Path, make: Make) -> None:
    folder = local / "bad" / "1"
    folder.mkdir(parents=True)
    make(folder)


async def upload(local: Path, blobs: BlobStore) -> None:
    """Upload everything as it is, as an upload by hand would: nothing is checked on the way."""
    for path in sorted(path for path in local.rglob("*") if path.is_file()):
        await blobs.write(f"{PREFIX}{path.relative_to(local).as_posix()}", path.read_bytes())


async def assert_refused(registry: ModelRegistry, reason: str, *private: Path) -> None:
    """The bad model is refused with a sentence that gives nothing away; the good one was and stays ready."""
    good = await registry.get("good")
    with pytest.raises(ModelUnavailable, match=rf"^bad:1: .*(?:{reason})") as refusal:
        await registry.get("bad")

    for secret in (SECRET, *map(str, private)):
        assert secret not in refusal.value.message
    assert refusal.value.retryable
    assert await registry.get("good") is good
    states = {state.name: state for state in await registry.states()}
    assert (states["bad"].state, states["good"].state) == ("failed", "ready")
    assert states["bad"].reason == registry.problem("bad") == refusal.value.message


@pytest.mark.parametrize("case", [*ANYWHERE, *ON_DISK])
async def test_version_on_disk_is_refused(
    case: str, local: Path, tmp_path: Path, executor: ThreadPoolExecutor, capfd: pytest.CaptureFixture[str]
) -> None:
    make, reason = (ANYWHERE | ON_DISK)[case]
    make_bad(local, make)
    registry = ModelRegistry(FolderSource(ModelRepository(local), executor), executor, load=load_ready_session)

    await assert_refused(registry, reason, tmp_path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("case", ANYWHERE)
async def test_version_in_a_container_is_refused(
    case: str, local: Path, tmp_path: Path, executor: ThreadPoolExecutor, blobs: BlobStore, new_source: NewSource
) -> None:
    make, reason = ANYWHERE[case]
    make_bad(local, make)
    await upload(local, blobs)
    registry = ModelRegistry(new_source(), executor, load=load_ready_session)

    await assert_refused(registry, reason, tmp_path)
    await registry.close()


async def test_version_without_a_manifest_is_not_there(local: Path, executor: ThreadPoolExecutor) -> None:
    write_version(local, pixels_as_logits(), name="bad")
    write_version(local, pixels_as_logits(), name="bad", version="2").path.joinpath(MANIFEST_NAME).unlink()
    registry = ModelRegistry(FolderSource(ModelRepository(local), executor), executor, load=load_ready_session)

    assert (await registry.get("bad")).version.version == "1"
    with pytest.raises(ModelVersionNotFound):
        await registry.get("bad", "2")


@pytest.mark.parametrize("file", [MODEL_NAME, "weights.bin"])
async def test_file_that_is_written_while_it_is_loaded_is_refused(
    local: Path, executor: ThreadPoolExecutor, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = write_version(local, weighted_model("weights.bin"), name="bad", files={"weights.bin": bytes(16)})
    os.utime(version.path / file, (0, 0))  # many kernels' stamps differ only some milliseconds apart
    registry = ModelRegistry(FolderSource(ModelRepository(local), executor), executor, load=load_ready_session)
    create = onnxruntime.InferenceSession

    def create_while_it_is_written(*arguments: Any, **options: Any) -> Any:
        session = create(*arguments, **options)
        (version.path / file).write_bytes((version.path / file).read_bytes())
        return session

    monkeypatch.setattr(onnxruntime, "InferenceSession", create_while_it_is_written)

    with pytest.raises(ModelUnavailable, match=rf"^bad:1: {file}: it changed while it was being loaded"):
        await registry.get("bad")


async def test_manifest_that_is_written_while_the_version_is_loaded_is_refused(
    local: Path, executor: ThreadPoolExecutor
) -> None:
    def load(version: ModelVersion) -> ModelSession:
        (version.path / "labels.txt").write_text("a\nb\nc\nd\n")
        write_manifest(version.path)
        return load_ready_session(version)

    write_version(local, pixels_as_logits(), name="bad")
    registry = ModelRegistry(FolderSource(ModelRepository(local), executor), executor, load=load)

    with pytest.raises(ModelUnavailable, match=r"^bad:1: manifest\.json: it changed since the version was looked up"):
        await registry.get("bad")


async def test_versions_swapped_under_their_numbers_are_other_releases(
    local: Path, executor: ThreadPoolExecutor
) -> None:
    write_version(local, pixels_as_logits(), name="tiny", labels=["a", "b", "c", "d"])
    write_version(local, pixels_as_logits(), name="tiny", version="2")
    registry = ModelRegistry(FolderSource(ModelRepository(local), executor), executor, load=load_ready_session)
    assert (await registry.get("tiny")).spec.output.labels == ()
    folder = local / "tiny"
    (folder / "1").rename(folder / "x")
    (folder / "2").rename(folder / "1")
    (folder / "x").rename(folder / "2")
    await registry.reload("tiny")

    assert (await registry.get("tiny")).spec.output.labels == ("a", "b", "c", "d")
    assert (await registry.get("tiny", "1")).spec.output.labels == ()


async def test_version_that_vanishes_while_it_is_loaded_is_refused(local: Path, executor: ThreadPoolExecutor) -> None:
    def load(version: ModelVersion) -> ModelSession:
        version.path.rename(version.path.with_name("gone"))
        return load_ready_session(version)

    write_version(local, pixels_as_logits(), name="bad")
    registry = ModelRegistry(FolderSource(ModelRepository(local), executor), executor, load=load)

    with pytest.raises(ModelUnavailable, match=r"^bad:1: manifest\.json: it cannot be opened"):
        await registry.get("bad")


UNDER_A_CAP = """\
import resource, sys
from pathlib import Path
from inference.errors import ModelUnavailable
from inference.models.repository import ModelRepository
from inference.models.loading import load_ready_session
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
repository = ModelRepository(Path(sys.argv[1]))
good = load_ready_session(repository.resolve("good"))
try:
    load_ready_session(repository.resolve("bad"))
except ModelUnavailable as exc:
    print(exc.message)
good.warm()
print("the other still runs")
"""


def test_model_that_wants_terabytes_is_refused_under_a_memory_cap(local: Path) -> None:
    write_version(local, huge_constant(), name="bad")
    done = subprocess.run(
        [sys.executable, "-c", UNDER_A_CAP, str(local)], capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0, done.stderr
    refusal, running = done.stdout.splitlines()
    assert refusal.startswith("bad:1: ")
    assert running == "the other still runs"
