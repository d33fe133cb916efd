"""The model registry: one load a version, whoever asks and however often, and failures remembered for a while."""

from __future__ import annotations

import asyncio
import gc
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from inference.errors import ModelNotFound, ModelUnavailable, ModelVersionNotFound, ShuttingDown
from inference.models.loading import load_ready_session
from inference.models.manifest import MANIFEST_NAME, write_manifest
from inference.models.registry import ModelRegistry, State
from inference.models.repository import ModelRepository, ModelVersion
from inference.models.session import ModelSession
from inference.models.source import FolderSource
from tests.unit.models.published import pixels_as_logits, reshape_to_three, write_version


class Loads:
    """The real load, counted, and held back while `gate` is closed."""

    def __init__(self) -> None:
        self.versions: list[str] = []
        self.started = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, version: ModelVersion) -> ModelSession:
        self.versions.append(str(version))
        self.started.set()
        self.gate.wait()
        return load_ready_session(version)

    def hold(self) -> None:
        """Close the gate: the next load to begin is held back."""
        self.started.clear()
        self.gate.clear()

    async def begun(self) -> None:
        """Wait until a load has begun since then."""
        await asyncio.to_thread(self.started.wait)


class Clock:
    """A clock that goes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_version(tmp_path, pixels_as_logits(), version="1")
    write_version(tmp_path, pixels_as_logits(), version="2")
    return tmp_path


@pytest.fixture
def loads() -> Iterator[Loads]:
    loads = Loads()
    yield loads
    loads.gate.set()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


@pytest.fixture
def registry(folder: Path, executor: ThreadPoolExecutor, loads: Loads, clock: Clock) -> ModelRegistry:
    source = FolderSource(ModelRepository(folder), executor)
    return ModelRegistry(source, executor, load=loads, retry_failed_after_seconds=10, clock=clock)


async def states_of(registry: ModelRegistry) -> list[tuple[str, str | None, State, bool]]:
    return [(state.name, state.version, state.state, state.is_default) for state in await registry.states()]


async def test_nothing_is_loaded_before_it_is_asked_for(registry: ModelRegistry, loads: Loads) -> None:
    assert await states_of(registry) == [("tiny", "1", "unloaded", False), ("tiny", "2", "unloaded", True)]
    assert loads.versions == []


async def test_session_is_loaded_once_and_given_to_every_later_caller(registry: ModelRegistry, loads: Loads) -> None:
    first = await registry.get("tiny")

    assert await registry.get("tiny") is first
    assert await registry.get("tiny", "2") is first
    assert loads.versions == ["tiny:2"]
    assert (await registry.states())[1].session is first
    assert await states_of(registry) == [("tiny", "1", "unloaded", False), ("tiny", "2", "ready", True)]


async def test_ready_session_is_given_without_a_look_at_the_disk(registry: ModelRegistry, folder: Path) -> None:
    session = await registry.get("tiny")
    (folder / "tiny" / "2" / MANIFEST_NAME).unlink()

    assert await registry.get("tiny") is session


async def test_callers_at_once_share_one_load(registry: ModelRegistry, loads: Loads) -> None:
    loads.hold()
    callers = [asyncio.create_task(registry.get("tiny", version)) for version in (None, "2") * 8]
    await loads.begun()
    assert (await states_of(registry))[1] == ("tiny", "2", "loading", True)
    loads.gate.set()

    assert len({id(session) for session in await asyncio.gather(*callers)}) == 1
    assert loads.versions == ["tiny:2"]


async def test_caller_that_leaves_does_not_end_the_load_of_the_others(registry: ModelRegistry, loads: Loads) -> None:
    loads.hold()
    first, second = asyncio.create_task(registry.get("tiny")), asyncio.create_task(registry.get("tiny"))
    await loads.begun()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    loads.gate.set()

    assert (await second).version.version == "2"
    assert loads.versions == ["tiny:2"]


async def test_other_models_serve_while_one_loads(registry: ModelRegistry, loads: Loads) -> None:
    ready = await registry.get("tiny", "1")
    loads.hold()
    slow = asyncio.create_task(registry.get("tiny", "2"))
    await loads.begun()

    assert await registry.get("tiny", "1") is ready
    loads.gate.set()
    await slow


@pytest.mark.parametrize(
    ("name", "version", "error"),
    [
        ("other", None, ModelNotFound),
        ("../tiny", None, ModelNotFound),
        ("tiny", "3", ModelVersionNotFound),
        ("tiny", "x", ModelVersionNotFound),
    ],
)
async def test_what_is_not_published_is_not_found_and_leaves_no_trace(
    registry: ModelRegistry, name: str, version: str | None, error: type[Exception]
) -> None:
    before = await states_of(registry)
    with pytest.raises(error):
        await registry.get(name, version)
    assert await states_of(registry) == before


def break_version(folder: Path, version: str = "2") -> None:
    (folder / "tiny" / version / "model.onnx").write_bytes(b"broken")


async def test_failed_load_is_remembered_for_a_while_and_then_tried_again(
    registry: ModelRegistry, loads: Loads, clock: Clock, folder: Path
) -> None:
    break_version(folder)
    with pytest.raises(ModelUnavailable, match=r"^tiny:2: model\.onnx: ") as first:
        await registry.get("tiny", "2")
    clock.now += 9
    with pytest.raises(ModelUnavailable, match=r"^tiny:2: model\.onnx: ") as second:
        await registry.get("tiny", "2")

    assert loads.versions == ["tiny:2"]
    assert (first.value.retry_after_seconds, second.value.retry_after_seconds) == (10, 1)

    # Repaired and published again: a new manifest, so a new release.
    (folder / "tiny" / "2" / "model.onnx").write_bytes(pixels_as_logits())
    (folder / "tiny" / "2" / "labels.txt").write_text("a\nb\nc\nd\n")
    write_manifest(folder / "tiny" / "2")
    clock.now += 1
    assert (await registry.get("tiny", "2")).spec.output.labels == ("a", "b", "c", "d")
    assert loads.versions == ["tiny:2", "tiny:2"]
    assert (await states_of(registry))[1] == ("tiny", "2", "ready", True)


async def test_each_further_failure_doubles_the_wait_up_to_ten_minutes(
    registry: ModelRegistry, loads: Loads, clock: Clock, folder: Path
) -> None:
    break_version(folder)
    waits: list[float | None] = []
    for _ in range(8):
        with pytest.raises(ModelUnavailable) as failure:
            await registry.get("tiny", "2")
        waits.append(failure.value.retry_after_seconds)
        clock.now += waits[-1] or 0

    assert waits == [10, 20, 40, 80, 160, 320, 600, 600]
    assert len(loads.versions) == 8


async def test_failed_version_says_why_and_the_one_before_it_serves(
    registry: ModelRegistry, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    break_version(folder)

    # A process that starts after a bad version was published serves what older processes went on serving.
    assert (await registry.get("tiny")).version.version == "1"
    problem = registry.problem("tiny")
    assert problem is not None
    assert problem.startswith("tiny:2: model.onnx: it has 6 bytes")
    good, failed = await registry.states()
    assert (good.version, good.state, good.is_default, good.reason) == ("1", "ready", True, None)
    assert (failed.version, failed.state, failed.is_default, failed.session) == ("2", "failed", False, None)
    assert failed.reason == problem
    assert caplog.messages == [f"model tiny:2 not loaded: {problem.removeprefix('tiny:2: ')}"]


async def test_version_that_is_pinned_has_no_stand_in(registry: ModelRegistry, folder: Path) -> None:
    break_version(folder)
    (folder / "tiny" / "serving.toml").write_text("version = 2")

    with pytest.raises(ModelUnavailable, match=r"^tiny:2: model\.onnx: "):
        await registry.get("tiny")
    assert (await states_of(registry))[1] == ("tiny", "2", "failed", True)


async def test_model_that_loads_but_does_not_run_is_not_ready(registry: ModelRegistry, folder: Path) -> None:
    version = folder / "tiny" / "2"
    (version / "model.onnx").write_bytes(reshape_to_three())
    write_manifest(version)

    with pytest.raises(ModelUnavailable, match=r"^tiny:2: warm-up: "):
        await registry.get("tiny", "2")
    assert (await states_of(registry))[1] == ("tiny", "2", "failed", True)


async def test_unforeseen_error_of_a_load_is_unavailable_and_tells_nothing(
    folder: Path, executor: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    def load(version: ModelVersion) -> ModelSession:
        raise MemoryError(f"secret {version.path}")

    registry = ModelRegistry(FolderSource(ModelRepository(folder), executor), executor, load=load)
    with pytest.raises(ModelUnavailable) as failure:
        await registry.get("tiny")

    assert failure.value.message == "tiny:2: it cannot be loaded."
    assert "MemoryError" in caplog.text


async def test_a_broken_model_takes_no_other_down(registry: ModelRegistry, folder: Path) -> None:
    write_version(folder, b"broken", name="broken")
    with pytest.raises(ModelUnavailable):
        await registry.get("broken")
    await registry.get("tiny")

    assert await states_of(registry) == [
        ("broken", "1", "failed", True),
        ("tiny", "1", "unloaded", False),
        ("tiny", "2", "ready", True),
    ]


async def test_broken_serving_file_shows_in_the_states_and_takes_nothing_else_down(
    registry: ModelRegistry, folder: Path
) -> None:
    write_version(folder, pixels_as_logits(), name="other")
    (folder / "tiny" / "serving.toml").write_text("version = 7")
    states = await registry.states()

    assert [(state.name, state.version, state.state) for state in states] == [
        ("other", "1", "unloaded"),
        ("tiny", "1", "unloaded"),
        ("tiny", "2", "unloaded"),
        ("tiny", None, "failed"),
    ]
    assert states[-1].reason == "tiny: serving.toml pins version 7, which is not published."
    assert (await registry.get("tiny", "1")).version.version == "1"
    with pytest.raises(ModelUnavailable, match="pins version 7"):
        await registry.get("tiny")


async def test_new_version_serves_after_a_reload(registry: ModelRegistry, loads: Loads, folder: Path) -> None:
    old = await registry.get("tiny")
    by_number = await registry.get("tiny", "2")
    write_version(folder, pixels_as_logits(), version="3")
    assert await registry.get("tiny") is old
    await registry.reload()

    assert (await registry.get("tiny")).version.version == "3"
    assert await registry.get("tiny", "2") is by_number
    assert loads.versions == ["tiny:2", "tiny:3"]


async def test_reload_of_a_model_that_was_not_loaded_loads_it(registry: ModelRegistry, loads: Loads) -> None:
    await registry.reload("tiny")

    assert loads.versions == ["tiny:2"]
    with pytest.raises(ModelNotFound):
        await registry.reload("other")


async def test_old_session_serves_until_the_new_one_is_ready(
    registry: ModelRegistry, loads: Loads, folder: Path
) -> None:
    old = await registry.get("tiny")
    write_version(folder, pixels_as_logits(), version="3")
    loads.hold()
    reloading = asyncio.create_task(registry.reload("tiny"))
    await loads.begun()

    assert await registry.get("tiny") is old
    loads.gate.set()
    await reloading
    assert (await registry.get("tiny")).version.version == "3"
    # A run that began with the old session ends with it.
    assert old.run(np.ones((1, 1, 2, 2), np.float32))["logits"].tolist() == [[1, 1, 1, 1]]


async def test_new_version_that_fails_changes_nothing_but_what_is_told(registry: ModelRegistry, folder: Path) -> None:
    old = await registry.get("tiny")
    write_version(folder, b"broken", version="3")
    with pytest.raises(ModelUnavailable, match=r"^tiny:3: model\.onnx: .* Version 2 goes on serving\.$"):
        await registry.reload("tiny")

    assert await registry.get("tiny") is old
    assert (registry.problem("tiny") or "").startswith("tiny:3: model.onnx: ")
    assert (await states_of(registry))[1:] == [("tiny", "2", "ready", True), ("tiny", "3", "failed", False)]


async def test_reload_tries_a_failed_version_again_at_once(registry: ModelRegistry, loads: Loads, folder: Path) -> None:
    break_version(folder)
    (folder / "tiny" / "serving.toml").write_text("version = 2")
    for _ in range(2):
        with pytest.raises(ModelUnavailable):
            await registry.reload("tiny")

    assert loads.versions == ["tiny:2", "tiny:2"]


async def test_version_published_again_unchanged_is_not_loaded_again(
    registry: ModelRegistry, loads: Loads, folder: Path
) -> None:
    session = await registry.get("tiny")
    write_manifest(folder / "tiny" / "2")
    await registry.reload("tiny")

    assert await registry.get("tiny") is session
    assert loads.versions == ["tiny:2"]


async def test_removing_a_version_rolls_back_to_the_one_before_it(registry: ModelRegistry, folder: Path) -> None:
    assert (await registry.get("tiny")).version.version == "2"
    (folder / "tiny" / "2" / MANIFEST_NAME).unlink()
    await registry.reload("tiny")

    assert (await registry.get("tiny")).version.version == "1"
    with pytest.raises(ModelVersionNotFound):
        await registry.get("tiny", "2")


async def test_model_that_is_removed_is_gone_after_the_next_look(registry: ModelRegistry, folder: Path) -> None:
    write_version(folder, pixels_as_logits(), name="other")
    await registry.get("tiny")
    shutil.rmtree(folder / "tiny")

    with pytest.raises(ModelNotFound):
        await registry.reload("tiny")
    with pytest.raises(ModelNotFound):
        await registry.get("tiny")


async def test_repository_that_cannot_be_read_takes_nothing_down(
    registry: ModelRegistry, folder: Path, clock: Clock
) -> None:
    session = await registry.get("tiny")
    folder.rename(folder.with_name(f"{folder.name}-elsewhere"))
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        await registry.reload("tiny")
    clock.now += 2

    assert await registry.get("tiny") is session
    assert ("tiny", "2", "ready", True) in await states_of(registry)
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        await registry.get("tiny", "1")


async def test_broken_serving_file_leaves_what_serves(registry: ModelRegistry, folder: Path) -> None:
    session = await registry.get("tiny")
    (folder / "tiny" / "serving.toml").write_text("version = 7")
    with pytest.raises(ModelUnavailable, match=r"pins version 7, .* Version 2 goes on serving"):
        await registry.reload("tiny")

    assert await registry.get("tiny") is session
    assert registry.problem("tiny") == "tiny: serving.toml pins version 7, which is not published."
    (folder / "tiny" / "serving.toml").unlink()
    await registry.reload()
    assert registry.problem("tiny") is None


async def test_unloaded_model_is_loaded_again_by_the_next_request(registry: ModelRegistry, loads: Loads) -> None:
    await registry.get("tiny")
    await registry.unload("tiny")

    assert (await states_of(registry))[1] == ("tiny", "2", "unloaded", True)
    await registry.get("tiny")
    assert loads.versions == ["tiny:2", "tiny:2"]
    with pytest.raises(ModelNotFound):
        await registry.unload("other")


async def test_request_for_a_ready_model_takes_no_more_than_a_few_dictionary_lookups(registry: ModelRegistry) -> None:
    await registry.get("tiny")
    coroutine = registry.get("tiny", sticky_key="request")

    # It ends without giving the loop a turn: nothing was read, nothing was waited for.
    with pytest.raises(StopIteration):
        coroutine.send(None)


async def test_who_waits_for_a_load_that_close_gives_up_hears_that_the_process_ends(
    registry: ModelRegistry, loads: Loads
) -> None:
    loads.hold()
    caller = asyncio.create_task(registry.get("tiny"))
    await loads.begun()
    closing = asyncio.create_task(registry.close())
    loads.gate.set()
    await closing

    with pytest.raises(ShuttingDown):
        await caller
    with pytest.raises(ShuttingDown):
        await registry.get("tiny")
    with pytest.raises(ShuttingDown):
        await registry.reload("tiny")


async def test_who_is_cancelled_while_the_registry_closes_is_cancelled(registry: ModelRegistry, loads: Loads) -> None:
    loads.hold()
    caller = asyncio.create_task(registry.get("tiny"))
    await loads.begun()
    caller.cancel()
    await registry.close()

    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_a_load_that_somebody_waits_for_is_not_begun_anew_when_another_route_gives_it_up(
    registry: ModelRegistry, loads: Loads, folder: Path
) -> None:
    serving = folder / "tiny" / "serving.toml"
    serving.write_text("version = 1")
    await registry.get("tiny")
    loads.hold()
    serving.write_text("version = 1\n[canary]\nversion = 2\nshare = 0.5\n")
    await registry.reload("tiny")
    await loads.begun()
    by_number = asyncio.create_task(registry.get("tiny", "2"))
    serving.write_text("version = 1")
    await registry.reload("tiny")
    serving.write_text("version = 2")
    reloading = asyncio.create_task(registry.reload("tiny"))
    await registry.states()  # the reload has looked by then
    loads.gate.set()
    await reloading

    assert await by_number is await registry.get("tiny")
    assert loads.versions == ["tiny:1", "tiny:2"]


async def test_a_load_that_began_before_the_unload_brings_nothing_back(registry: ModelRegistry, loads: Loads) -> None:
    loads.hold()
    caller = asyncio.create_task(registry.get("tiny"))
    await loads.begun()
    await registry.unload("tiny")
    loads.gate.set()

    assert (await caller).version.version == "2"
    assert registry.is_unloaded("tiny")
    assert (await states_of(registry))[1] == ("tiny", "2", "unloaded", True)
    await registry.get("tiny")
    assert not registry.is_unloaded("tiny")
    assert loads.versions == ["tiny:2", "tiny:2"]


async def test_a_look_that_began_before_the_unload_brings_nothing_back(
    registry: ModelRegistry, loads: Loads, folder: Path
) -> None:
    await registry.get("tiny")
    write_version(folder, pixels_as_logits(), version="3")
    loads.hold()
    reloading = asyncio.create_task(registry.reload())
    await loads.begun()
    await registry.unload("tiny")
    loads.gate.set()
    await reloading

    assert registry.is_unloaded("tiny")
    assert {state.state for state in await registry.states()} == {"unloaded"}


async def test_a_reload_that_fails_when_its_caller_has_left_is_told_in_the_states(
    registry: ModelRegistry, loads: Loads, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await registry.get("tiny")
    write_version(folder, reshape_to_three(), version="3")
    loads.hold()
    caller = asyncio.create_task(registry.reload("tiny"))
    await loads.begun()
    caller.cancel()
    await asyncio.wait({caller})
    del caller  # its exception leads to the reload
    loads.gate.set()
    with pytest.raises(ModelUnavailable, match="Version 2 goes on serving"):
        await registry.reload("tiny")
    gc.collect()

    assert not [record for record in caplog.records if record.name == "asyncio"]
    assert (await states_of(registry))[2] == ("tiny", "3", "failed", False)


async def test_a_reload_whose_caller_leaves_goes_on(registry: ModelRegistry, loads: Loads, folder: Path) -> None:
    await registry.get("tiny")
    write_version(folder, pixels_as_logits(), version="3")
    loads.hold()
    begun = asyncio.create_task(registry.reload("tiny"))
    await loads.begun()
    write_version(folder, pixels_as_logits(), version="4")
    # Left before it has begun to load: it waits for the load of the other.
    waiting = asyncio.create_task(registry.reload("tiny"))
    await asyncio.sleep(0)
    for caller in (begun, waiting):
        caller.cancel()
    await asyncio.wait({begun, waiting})
    loads.started.clear()
    loads.gate.set()

    assert await asyncio.to_thread(loads.started.wait, 120)
    assert loads.versions == ["tiny:2", "tiny:3", "tiny:4"]
    await registry.close()
