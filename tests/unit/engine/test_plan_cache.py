"""Plans on disk: for whom they hold, and that a bad one is as good as none."""

import os
import tempfile
from pathlib import Path

import pytest

from inference.engine.plan import ExecutionPlan
from inference.engine.plan_cache import PlanCache

PLAN = ExecutionPlan(1, 2, 1, 2, True, "tuned")


def open_cache(folder: Path, runtime: str = "1.31", processor: str = "a") -> PlanCache:
    return PlanCache(str(folder), runtime, processor)


def test_plan_that_was_written_is_read_by_another_process(tmp_path: Path) -> None:
    open_cache(tmp_path / "plans").write("sha", 2, PLAN)

    assert open_cache(tmp_path / "plans").read("sha", 2) == PLAN
    assert ((tmp_path / "plans").stat().st_mode & 0o777) == 0o700


@pytest.mark.parametrize(
    ("runtime", "processor", "model", "cores"),
    [("1.32", "a", "sha", 2), ("1.31", "b", "sha", 2), ("1.31", "a", "other", 2), ("1.31", "a", "sha", 4)],
)
def test_plan_holds_for_one_model_runtime_processor_and_number_of_cores(
    tmp_path: Path, runtime: str, processor: str, model: str, cores: int
) -> None:
    open_cache(tmp_path).write("sha", 2, PLAN)

    assert open_cache(tmp_path, runtime, processor).read(model, cores) is None


def test_another_users_folder_is_neither_trusted_nor_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may write a plan there could make every process compute by it."""
    open_cache(tmp_path).write("sha", 2, PLAN)
    written = [*tmp_path.iterdir()]
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)

    assert open_cache(tmp_path).read("sha", 2) is None
    open_cache(tmp_path).write("sha", 4, PLAN)
    assert [*tmp_path.iterdir()] == written


def test_each_user_has_a_folder_of_their_own_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    PlanCache("", "1.31", "a").write("sha", 2, PLAN)

    assert [path.name for path in tmp_path.iterdir()] == [f"onnxfn-plans-{os.geteuid()}"]


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b'{"threads":1}',
        b'{"threads":0,"parallel":2,"max_batch":1,"idle_threads":2,"spinning":true,"origin":"tuned"}',
        b'{"threads":1,"parallel":2000,"max_batch":1,"idle_threads":2,"spinning":true,"origin":"tuned"}',
        b'{"threads":"1","parallel":2,"max_batch":1,"idle_threads":2,"spinning":true,"origin":"tuned"}',
        b'{"threads":4,"parallel":2,"max_batch":1,"idle_threads":2,"spinning":true,"origin":"tuned"}',
        b'{"threads":1,"parallel":2,"max_batch":1,"idle_threads":2,"spinning":1,"origin":"tuned"}',
        b'{"threads":1,"parallel":2,"max_batch":1,"idle_threads":2,"spinning":true,"origin":"guessed"}',
        b" " * 5000,
    ],
)
def test_damaged_plan_is_no_plan(tmp_path: Path, damage: bytes) -> None:
    cache = open_cache(tmp_path)
    cache.write("sha", 2, PLAN)
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage)

    assert cache.read("sha", 2) is None
    cache.write("sha", 2, PLAN)
    assert cache.read("sha", 2) == PLAN


def test_folder_that_cannot_be_written_costs_the_plan_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    cache = open_cache(tmp_path / "file")

    cache.write("sha", 2, PLAN)

    assert cache.read("sha", 2) is None
    assert "plan not kept" in caplog.text


def test_nothing_but_plans_stays_in_the_folder(tmp_path: Path) -> None:
    for model in ("a", "b", "a"):
        open_cache(tmp_path).write(model, 2, PLAN)

    assert [path.suffix for path in tmp_path.iterdir()] == [".json", ".json"]
