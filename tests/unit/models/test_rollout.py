"""How the registry follows its repository: polls, pins, canaries and the memory that sessions may take."""

from __future__ import annotations

import asyncio
import gc
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec.structs import replace

from inference.engine.plan import default_plan
from inference.errors import ModelNotFound, ModelUnavailable
from inference.models import registry as registry_module
from inference.models import session_cache
from inference.models.catalog import Catalog, Release
from inference.models.loading import load_ready_session
from inference.models.manifest import MANIFEST_NAME
from inference.models.registry import ModelRegistry
from inference.models.repository import ModelRepository, ModelVersion
from inference.models.route import position
from inference.models.session import ModelSession
from inference.models.session_cache import reckon_memory
from inference.models.source import FolderSource, LocalVersion
from tests.unit.models.published import pixels_as_logits, write_version

POLL_SECONDS = 60.0


class Clock:
    """A clock that goes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class CountingSource(FolderSource):
    """A folder that counts looks, and the versions that nobody holds any more."""

    def __init__(self, folder: Path, executor: ThreadPoolExecutor) -> None:
        super().__init__(ModelRepository(folder), executor)
        self.surveys = 0
        self.released: list[str] = []

    async def survey(self) -> Catalog:
        self.surveys += 1
        return await super().survey()

    async def fetch(self, release: Release) -> LocalVersion:
        local = await super().fetch(release)
        return LocalVersion(local.version, local.bytes, lambda: self.released.append(str(release)))


type NewRegistry = Callable[..., ModelRegistry]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_version(tmp_path, pixels_as_logits())
    return tmp_path


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


@pytest.fixture
def source(folder: Path, executor: ThreadPoolExecutor) -> CountingSource:
    return CountingSource(folder, executor)


@pytest.fixture
def new_registry(source: CountingSource, executor: ThreadPoolExecutor, clock: Clock) -> NewRegistry:
    def new_registry(**options: object) -> ModelRegistry:
        chosen = {"poll_seconds": POLL_SECONDS, "clock": clock, "load": load_ready_session, **options}
        return ModelRegistry(source, executor, **chosen)  # type: ignore[arg-type]

    return new_registry


async def version_of(registry: ModelRegistry, name: str = "tiny", key: str | None = None) -> str:
    return (await registry.get(name, sticky_key=key)).version.version


def serve(folder: Path, content: str, name: str = "tiny") -> None:
    (folder / name / "serving.toml").write_text(content)


async def test_request_after_the_interval_starts_a_poll_and_is_not_held_up_by_it(
    new_registry: NewRegistry, folder: Path, clock: Clock
) -> None:
    registry = new_registry()
    assert await version_of(registry) == "1"
    write_version(folder, pixels_as_logits(), version="2")
    clock.now += POLL_SECONDS - 1
    assert await version_of(registry) == "1"

    clock.now += 1
    assert await version_of(registry) == "1"
    await registry.poll()
    assert await version_of(registry) == "2"


@pytest.mark.parametrize("version", ["1", "2"])
async def test_a_model_that_failed_is_tried_again_as_soon_as_a_poll_sees_it_published_anew(
    new_registry: NewRegistry, folder: Path, clock: Clock, version: str
) -> None:
    registry = new_registry(retry_failed_after_seconds=POLL_SECONDS * 10)
    write_version(folder, b"no model", name="late")
    with pytest.raises(ModelUnavailable, match="late:1"):
        await registry.get("late")

    shutil.rmtree(folder / "late" / version, ignore_errors=True)
    write_version(folder, pixels_as_logits(), name="late", version=version)
    clock.now += POLL_SECONDS
    await registry.poll()
    assert await version_of(registry, "late") == version


async def test_loads_go_two_at_a_time_but_for_those_that_take_long(
    new_registry: NewRegistry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_cache, "TURN_SECONDS", 0.2)
    names = ["a", "b", "c"]
    for name in names:
        write_version(folder, pixels_as_logits(), name=name)
    loading: list[str] = []
    loop, all_loading, may_end = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def load(version: ModelVersion) -> ModelSession:
        loading.append(version.name)
        if len(loading) == len(names):
            loop.call_soon_threadsafe(all_loading.set)
        may_end.wait(600)
        return load_ready_session(version)

    registry = new_registry(load=load)
    started = time.monotonic()
    waiting = [asyncio.create_task(registry.get(name)) for name in names]
    try:
        async with asyncio.timeout(120):
            await all_loading.wait()
        assert time.monotonic() - started >= 0.2
    finally:
        may_end.set()
        await asyncio.gather(*waiting)


async def test_new_version_that_never_loads_keeps_no_other_model_from_its_own(
    new_registry: NewRegistry, folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "PATIENCE_SECONDS", 0.1)
    may_end = threading.Event()

    def load(version: ModelVersion) -> ModelSession:
        if (version.name, version.version) == ("tiny", "2"):
            may_end.wait(600)
        return load_ready_session(version)

    write_version(folder, pixels_as_logits(), name="zebra")
    registry = new_registry(load=load)
    for name in ("tiny", "zebra"):
        assert await version_of(registry, name) == "1"
    write_version(folder, pixels_as_logits(), version="2")
    write_version(folder, pixels_as_logits(), version="2", name="zebra")
    clock.now += POLL_SECONDS
    try:
        async with asyncio.timeout(120):
            await registry.poll()
        assert (await version_of(registry), await version_of(registry, "zebra")) == ("1", "2")
        may_end.set()
        await registry.reload("tiny")
        assert await version_of(registry) == "2"
    finally:
        may_end.set()


async def test_polls_come_no_more_often_than_the_interval(
    new_registry: NewRegistry, source: CountingSource, clock: Clock
) -> None:
    registry = new_registry()
    await version_of(registry)
    before = source.surveys
    for _ in range(10):
        clock.now += POLL_SECONDS / 5
        await version_of(registry)
        await registry.poll()

    assert source.surveys == before + 2


async def test_interval_of_zero_never_polls(new_registry: NewRegistry, source: CountingSource, clock: Clock) -> None:
    registry = new_registry(poll_seconds=0)
    await version_of(registry)
    before = source.surveys
    clock.now += 1e9
    await version_of(registry)
    await registry.poll()

    assert source.surveys == before


async def test_requests_for_unknown_models_cost_one_look_a_second(
    new_registry: NewRegistry, source: CountingSource, clock: Clock
) -> None:
    registry = new_registry(poll_seconds=0)
    for number in range(20):
        with pytest.raises(ModelNotFound):
            await registry.get(f"other-{number}")
    assert source.surveys == 1

    clock.now += 1
    with pytest.raises(ModelNotFound):
        await registry.get("other")
    assert source.surveys == 2


async def test_poll_that_cannot_read_the_repository_is_told_and_forgotten_when_it_can_again(
    new_registry: NewRegistry, folder: Path, clock: Clock
) -> None:
    registry = new_registry()
    await version_of(registry)
    folder.rename(folder.with_name(f"{folder.name}-elsewhere"))
    clock.now += POLL_SECONDS
    await registry.poll()
    assert (registry.problem("tiny") or "").startswith("the model repository: ")
    assert await version_of(registry) == "1"

    folder.with_name(f"{folder.name}-elsewhere").rename(folder)
    clock.now += POLL_SECONDS
    await registry.poll()
    assert registry.problem("tiny") is None


async def test_poll_loads_nothing_that_nobody_asked_for(new_registry: NewRegistry, folder: Path, clock: Clock) -> None:
    registry = new_registry()
    write_version(folder, pixels_as_logits(), name="other")
    await version_of(registry)
    clock.now += POLL_SECONDS
    await registry.poll()

    assert [(state.name, state.state) for state in await registry.states()] == [
        ("other", "unloaded"),
        ("tiny", "ready"),
    ]


async def test_broken_version_is_tried_again_by_polls_ever_more_rarely(
    new_registry: NewRegistry, folder: Path, clock: Clock, source: CountingSource
) -> None:
    registry = new_registry(retry_failed_after_seconds=30)
    await version_of(registry)
    write_version(folder, b"broken", version="2")
    for _ in range(10):
        clock.now += POLL_SECONDS
        await registry.poll()

    # Of ten polls, those after 0, 60, 120, 240 and 480 seconds.
    assert source.released.count("tiny:2") == 5


async def test_a_poll_forgets_what_serves_nothing_and_was_removed(
    new_registry: NewRegistry, folder: Path, clock: Clock
) -> None:
    failures = []

    def fail(version: ModelVersion) -> ModelSession:
        failure = ModelUnavailable(f"{version} is broken.")
        failures.append(weakref.ref(failure))
        raise failure

    registry = new_registry(load=fail)
    with pytest.raises(ModelUnavailable):
        await registry.get("tiny", "1")
    clock.now += POLL_SECONDS
    await registry.poll()
    gc.collect()
    assert failures[0]() is not None  # it may be asked for again

    write_version(folder, pixels_as_logits(), version="2")
    shutil.rmtree(folder / "tiny" / "1")
    clock.now += POLL_SECONDS
    await registry.poll()
    gc.collect()
    assert failures[0]() is None


async def test_pinned_version_serves_from_the_next_poll_and_a_removed_pin_goes_back(
    new_registry: NewRegistry, folder: Path, clock: Clock
) -> None:
    registry = new_registry()
    write_version(folder, pixels_as_logits(), version="2")
    assert await version_of(registry) == "2"
    serve(folder, "version = 1")
    clock.now += POLL_SECONDS
    await registry.poll()
    assert await version_of(registry) == "1"

    (folder / "tiny" / "serving.toml").unlink()
    clock.now += POLL_SECONDS
    await registry.poll()
    assert await version_of(registry) == "2"


async def canary_registry(new_registry: NewRegistry, folder: Path, share: float) -> ModelRegistry:
    write_version(folder, pixels_as_logits(), version="2")
    serve(folder, f"[canary]\nversion = 2\nshare = {share}\n")
    registry = new_registry()
    await registry.get("tiny")
    await registry.get("tiny", "2")  # waits for the load that is under way
    return registry


async def test_canary_gets_its_share_and_each_request_id_always_the_same_version(
    new_registry: NewRegistry, folder: Path
) -> None:
    registry = await canary_registry(new_registry, folder, 0.25)
    keys = [f"request-{number}" for number in range(2000)]
    versions = [await version_of(registry, key=key) for key in keys]

    assert 0.21 < versions.count("2") / len(keys) < 0.29
    assert [await version_of(registry, key=key) for key in keys] == versions


async def test_caller_without_a_request_id_never_gets_the_canary(new_registry: NewRegistry, folder: Path) -> None:
    registry = await canary_registry(new_registry, folder, 1.0)

    assert await version_of(registry, key="any") == "2"
    # As batches do: a share of the requests is not a whole batch.
    assert await version_of(registry) == "1"
    assert (await registry.get("tiny", "1", sticky_key="any")).version.version == "1"


async def test_states_name_the_canary_and_its_share(new_registry: NewRegistry, folder: Path) -> None:
    registry = await canary_registry(new_registry, folder, 0.1)

    assert [(s.version, s.is_default, s.canary_share) for s in await registry.states()] == [
        ("1", True, None),
        ("2", False, 0.1),
    ]


async def test_canary_that_goes_on_under_a_broken_serving_file_is_still_told(
    new_registry: NewRegistry, folder: Path
) -> None:
    registry = await canary_registry(new_registry, folder, 0.5)
    keys = [f"request-{number}" for number in range(50)]
    before = [await version_of(registry, key=key) for key in keys]
    serve(folder, "version = 99\n")
    with pytest.raises(ModelUnavailable, match="pins version 99"):
        await registry.reload("tiny")

    assert [await version_of(registry, key=key) for key in keys] == before
    assert {"1", "2"} == set(before)
    told = [(s.version, s.is_default, s.canary_share) for s in await registry.states() if s.version is not None]
    assert told == [("1", True, None), ("2", False, 0.5)]


async def test_canary_that_cannot_be_loaded_takes_no_request(new_registry: NewRegistry, folder: Path) -> None:
    write_version(folder, b"broken", version="2")
    serve(folder, "[canary]\nversion = 2\nshare = 1.0\n")
    registry = new_registry()

    assert {await version_of(registry, key=str(number)) for number in range(20)} == {"1"}


async def test_canary_that_cannot_serve_is_told(new_registry: NewRegistry, folder: Path, clock: Clock) -> None:
    serve(folder, "[canary]\nversion = 2\nshare = 0.5\n")
    registry = new_registry()
    await registry.get("tiny")
    assert registry.problem("tiny") == "tiny: the canary of serving.toml, version 2, is not published."

    write_version(folder, b"broken", version="2")
    await registry.reload("tiny")
    with pytest.raises(ModelUnavailable):
        await registry.get("tiny", "2")  # waits for the load that is under way
    assert (registry.problem("tiny") or "").startswith("tiny:2: model.onnx: ")


async def test_canary_that_is_the_version_that_serves_is_none(new_registry: NewRegistry, folder: Path) -> None:
    serve(folder, "version = 1\n[canary]\nversion = 1\nshare = 0.5\n")
    registry = new_registry()

    assert await version_of(registry, key="any") == "1"
    assert registry.problem("tiny") is None


async def test_canary_that_was_taken_back_serves_no_longer(
    new_registry: NewRegistry, folder: Path, clock: Clock
) -> None:
    registry = await canary_registry(new_registry, folder, 1.0)
    (folder / "tiny" / "2" / MANIFEST_NAME).unlink()
    clock.now += POLL_SECONDS
    await registry.poll()

    assert await version_of(registry, key="any") == "1"


def test_positions_are_even_and_fixed() -> None:
    positions = sorted(position(f"tiny:2:{number}") for number in range(4000))

    assert all(abs(value - index / 4000) < 0.03 for index, value in enumerate(positions))
    # Equal in every process and release: a caller stays where it is while a rollout lasts.
    assert round(position("tiny:2:request-1"), 6) == 0.189734


async def memory_of_one(folder: Path, source: CountingSource) -> int:
    model = (await source.survey()).find("tiny")
    return reckon_memory((await source.fetch(model.release("1"))).bytes)


async def test_least_recently_used_session_makes_room(
    new_registry: NewRegistry, folder: Path, source: CountingSource, clock: Clock
) -> None:
    for name in ("b", "c"):
        write_version(folder, pixels_as_logits(), name=name)
    registry = new_registry(memory_bytes=2 * await memory_of_one(folder, source))
    for name in ("tiny", "b", "tiny", "c"):
        clock.now += 1
        await registry.get(name)

    assert {state.name: state.state for state in await registry.states()} == {
        "b": "unloaded",
        "c": "ready",
        "tiny": "ready",
    }
    assert await version_of(registry, "b") == "1"


async def test_models_asked_for_at_once_take_turns_in_memory_that_holds_one_of_them(
    new_registry: NewRegistry, folder: Path, source: CountingSource
) -> None:
    names = ["tiny", "b", "c", "d"]
    for name in names[1:]:
        write_version(folder, pixels_as_logits(), name=name)
    registry = new_registry(memory_bytes=await memory_of_one(folder, source))

    for _ in range(3):
        sessions = await asyncio.gather(*map(registry.get, names))
        assert [session.version.name for session in sessions] == names
    states = await registry.states()
    assert sorted(state.state for state in states) == ["ready", "unloaded", "unloaded", "unloaded"]


async def test_lane_for_lone_runs_counts_as_memory(
    new_registry: NewRegistry, folder: Path, source: CountingSource
) -> None:
    for name in ("b", "c"):
        write_version(folder, pixels_as_logits(), name=name)
    registry = new_registry(memory_bytes=2 * await memory_of_one(folder, source), pinned=["tiny"])
    plan = replace(default_plan(2), idle_threads=2)
    (await registry.get("tiny")).adopt(plan)
    # Two would fit if "tiny" were as it was loaded.
    with pytest.raises(ModelUnavailable, match=r"^b:1: it needs about 16 MiB of memory"):
        await registry.get("b")


async def test_pinned_models_are_never_dropped_and_others_wait_for_room(
    new_registry: NewRegistry, folder: Path, source: CountingSource
) -> None:
    for name in ("b", "c"):
        write_version(folder, pixels_as_logits(), name=name)
    registry = new_registry(memory_bytes=2 * await memory_of_one(folder, source), pinned=["tiny", "b"])
    for name in ("tiny", "b"):
        await registry.get(name)

    with pytest.raises(ModelUnavailable, match=r"^c:1: it needs about 16 MiB of memory"):
        await registry.get("c")
    assert {state.name: state.state for state in await registry.states()} == {
        "b": "ready",
        "c": "failed",
        "tiny": "ready",
    }


async def test_pinned_model_is_replaced_though_both_versions_take_more_than_the_bound(
    new_registry: NewRegistry, folder: Path, source: CountingSource
) -> None:
    registry = new_registry(memory_bytes=await memory_of_one(folder, source), pinned=["tiny"])
    await registry.get("tiny")
    write_version(folder, pixels_as_logits(), version="2")
    await registry.reload("tiny")

    assert await version_of(registry) == "2"


async def test_files_are_held_for_as_long_as_anybody_holds_the_session(
    new_registry: NewRegistry, folder: Path, source: CountingSource
) -> None:
    registry = new_registry()
    session = await registry.get("tiny")
    write_version(folder, pixels_as_logits(), version="2")
    await registry.reload("tiny")
    gc.collect()
    assert source.released == []

    gone = weakref.ref(session)
    del session
    gc.collect()
    assert gone() is None
    assert source.released == ["tiny:1"]
