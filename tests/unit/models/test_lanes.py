"""A model that changes the way it runs: by plan, alone, joined, and by another execution provider."""

import os
import shutil
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from inference.engine.plan import Declared, ExecutionPlan
from inference.engine.termination import Termination
from inference.errors import DeadlineExceeded, InferenceFailed, ModelUnavailable
from inference.models import session_factory
from inference.models.loading import load_ready_session
from inference.models.repository import ModelRepository, ModelVersion
from inference.models.rows import check_rows, join_rows, split_rows
from inference.models.runtime import CPU, choose_providers, name_runtime
from inference.models.session import ModelSession
from tests.unit.models.counted import Counted
from tests.unit.models.published import build_model, pixels_as_logits, write_version

SAMPLES = Path(__file__).parents[3] / "samples/models"
WIDE = ExecutionPlan(1, 2, 1, 2, True, "tuned")


@pytest.fixture
def digits() -> ModelSession:
    return load_ready_session(ModelRepository(SAMPLES).resolve("digits"))


def images(count: int) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    generator = np.random.default_rng(7)
    return [generator.uniform(-1, 1, (1, 1, 16, 16)).astype(np.float32) for _ in range(count)]


def test_each_row_of_a_joined_run_is_what_its_item_gives_alone(digits: ModelSession) -> None:
    items = images(5)

    joined = split_rows(digits.run(join_rows(items)), len(items))

    for item, outputs in zip(items, joined, strict=True):
        np.testing.assert_allclose(outputs["logits"], digits.run(item)["logits"], rtol=1e-4, atol=1e-5)


def test_run_that_is_alone_gives_what_any_run_gives(digits: ModelSession) -> None:
    (item,) = images(1)
    before = digits.run(item)["logits"]

    digits.adopt(WIDE)

    assert (digits.plan, digits.has_idle_lane) == (WIDE, True)
    np.testing.assert_allclose(digits.run(item, is_alone=True)["logits"], before, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(digits.run(item)["logits"], before)


def test_only_a_run_that_is_alone_takes_the_lane_of_every_core(digits: ModelSession) -> None:
    (item,) = images(1)
    digits.adopt(WIDE)
    lanes = digits._lanes
    loaded, idle = Counted(lanes.loaded), Counted(lanes.idle)
    object.__setattr__(lanes, "loaded", loaded)
    object.__setattr__(lanes, "idle", idle)

    digits.run(item)
    assert (loaded.runs, idle.runs) == (1, 0)
    digits.run(item, is_alone=True)
    assert (loaded.runs, idle.runs) == (1, 1)


@pytest.mark.parametrize("spinning", [False, True])
def test_each_lane_has_the_threads_of_the_plan(digits: ModelSession, spinning: bool) -> None:
    digits.adopt(ExecutionPlan(1, 2, 1, 3, spinning, "tuned"))

    lanes = digits._lanes
    assert lanes.loaded.get_session_options().intra_op_num_threads == 1
    assert lanes.idle is not None
    options = lanes.idle.get_session_options()
    assert options.intra_op_num_threads == 3
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == str(int(spinning))


def _prepared_folders() -> list[Path]:
    return [*Path(tempfile.gettempdir()).glob("onnxfn-weights-*")]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what a process has mapped")
def test_both_lanes_map_the_same_weights_and_leave_no_file(
    digits: ModelSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    digits.adopt(WIDE)

    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(tmp_path) in line]
    assert len(mapped) >= 2
    assert len({line.split()[4] for line in mapped}) == 1  # one inode
    assert _prepared_folders() == []


@pytest.mark.parametrize("obstacle", ["no folder", "no room"])
def test_lanes_have_weights_of_their_own_where_none_can_be_prepared(
    digits: ModelSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    # Of this test's own: a service that runs on the machine prepares weights in the common one.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing" if obstacle == "no folder" else tmp_path))
    if obstacle == "no room":
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    (item,) = images(1)
    before = digits.run(item)["logits"]

    digits.adopt(WIDE)

    assert digits.has_idle_lane
    np.testing.assert_allclose(digits.run(item, is_alone=True)["logits"], before, rtol=1e-4, atol=1e-5)
    assert _prepared_folders() == []


def test_what_a_killed_process_left_is_removed_and_what_another_prepares_is_not(
    digits: ModelSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name, age in {"left": 3601, "new": 3500}.items():
        folder = tmp_path / f"{session_factory.FOLDER_PREFIX}{name}"
        folder.mkdir()
        (folder / "weights").write_bytes(b"...")
        os.utime(folder, (time.time() - age,) * 2)

    digits.adopt(WIDE)

    assert [folder.name for folder in _prepared_folders()] == [f"{session_factory.FOLDER_PREFIX}new"]


def test_lanes_that_give_other_outputs_are_not_adopted(digits: ModelSession, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong:
        def run(self, *_: Any) -> Any:
            return [np.full((1, 10), 3.0, np.float32)]

    monkeypatch.setattr(session_factory, "_open_prepared", lambda *_: Wrong())

    with pytest.raises(ModelUnavailable, match="other outputs"):
        digits.adopt(WIDE)

    assert digits.plan is None
    assert not digits.has_idle_lane


def test_plan_without_an_idle_lane_needs_no_other_session(
    digits: ModelSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a session was made")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)

    digits.adopt(ExecutionPlan(1, 2, 1, 1, False, "default"))

    assert not digits.has_idle_lane


def test_plan_that_cannot_be_adopted_changes_nothing(tmp_path: Path) -> None:
    session = load_ready_session(write_version(tmp_path, pixels_as_logits()))
    (tmp_path / "tiny/1/model.onnx").write_bytes(pixels_as_logits(side=3))

    with pytest.raises(ModelUnavailable, match=r"^tiny:1"):
        session.adopt(WIDE)

    assert session.plan is None
    assert session.run(np.zeros((1, 1, 2, 2), np.float32))["logits"].shape == (1, 4)


def test_no_more_runs_go_at_once_than_the_plan_says(digits: ModelSession) -> None:
    digits.adopt(ExecutionPlan(1, 1, 1, 1, False, "declared"))
    lanes, inside, most = digits._lanes, [0], [0]
    real, lock = lanes.loaded, threading.Lock()

    class Watched:
        def run(self, *arguments: Any) -> Any:
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            outputs = real.run(*arguments)
            with lock:
                inside[0] -= 1
            return outputs

    object.__setattr__(lanes, "loaded", Watched())
    (item,) = images(1)
    threads = [threading.Thread(target=lambda: [digits.run(item) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == [1]


def test_run_that_was_ended_waits_for_no_turn(digits: ModelSession) -> None:
    digits.adopt(ExecutionPlan(1, 1, 1, 1, False, "declared"))
    lanes, started, let_go = digits._lanes, threading.Event(), threading.Event()
    real = lanes.loaded

    class Held:
        def run(self, *arguments: Any) -> Any:
            started.set()
            assert let_go.wait(120)
            return real.run(*arguments)

    object.__setattr__(lanes, "loaded", Held())
    (item,) = images(1)
    ended = Termination()
    with ThreadPoolExecutor(2) as threads:
        holder = threads.submit(digits.run, item)
        assert started.wait(120)
        waiting = threads.submit(digits.run, item, run_options=ended.options)
        ended.end()
        try:
            with pytest.raises(DeadlineExceeded):
                waiting.result(60)
        finally:
            let_go.set()

        assert holder.result(120)["logits"].shape == (1, 10)
        assert threads.submit(digits.run, item).result(120)["logits"].shape == (1, 10)


def test_what_is_timed_runs_zeros_and_checks_the_rows(digits: ModelSession) -> None:
    with digits.trial(lambda: True) as open_run:
        assert open_run is not None
        run = open_run(2, False)
        run(1)
        run(4)


def test_model_that_gives_one_row_for_many_items_cannot_be_joined(tmp_path: Path) -> None:
    model = build_model(
        [
            helper.make_node("Flatten", ["input"], ["flat"]),
            helper.make_node("ReduceMax", ["flat"], ["logits"], axes=[0], keepdims=1),
        ],
        inputs={"input": (TensorProto.FLOAT, ["batch", 1, 2, 2])},
        outputs={"logits": (TensorProto.FLOAT, [None, 4])},
    )
    check_that_it_runs_only_alone(write_version(tmp_path, model), "1 rows of logits for 4 items")


def test_model_whose_items_share_a_scale_cannot_be_joined(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).integers(-127, 128, (4, 3), np.int8)
    model = build_model(
        [
            helper.make_node("Flatten", ["input"], ["flat"]),
            helper.make_node("DynamicQuantizeLinear", ["flat"], ["quantized", "scale", "zero"]),
            helper.make_node("MatMulInteger", ["quantized", "weights", "zero"], ["sums"]),
            helper.make_node("Cast", ["sums"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["numbers", "scale"], ["logits"]),
        ],
        inputs={"input": (TensorProto.FLOAT, ["batch", 1, 2, 2])},
        outputs={"logits": (TensorProto.FLOAT, ["batch", 3])},
        constants=[numpy_helper.from_array(weights, "weights")],
    )
    check_that_it_runs_only_alone(write_version(tmp_path, model), "depend on the others")


def check_that_it_runs_only_alone(version: ModelVersion, why_not_joined: str) -> None:
    with load_ready_session(version).trial(lambda: True) as open_run:
        assert open_run is not None
        run = open_run(1, False)
        run(1)
        with pytest.raises(InferenceFailed, match=why_not_joined):
            run(4)


def test_declared_execution_is_what_the_tuner_is_told(tmp_path: Path) -> None:
    toml = "[execution]\nthreads = 2\nmax_batch = 3"
    session = load_ready_session(write_version(tmp_path, pixels_as_logits(), toml=toml))

    assert (session.declared, session.can_batch) == (Declared(2, None, 3), True)


@pytest.mark.parametrize("rows", [np.zeros((2, 1)), np.zeros(()), ["a", "b", "c"]])
def test_outputs_with_other_than_a_row_an_item_are_refused(rows: Any) -> None:
    with pytest.raises(InferenceFailed, match="rows of scores for 3 items"):
        check_rows({"labels": np.zeros(3), "scores": rows}, 3)


def test_missing_execution_provider_is_warned_of_and_the_cpu_is_last(caplog: pytest.LogCaptureFixture) -> None:
    assert choose_providers(["NoSuchExecutionProvider", CPU]) == (CPU,)
    assert "This onnxruntime has no NoSuchExecutionProvider" in caplog.text
    assert choose_providers([]) == (CPU,)
    assert name_runtime((CPU,)) == f"{onnxruntime.__version__} {CPU}"


@pytest.mark.parametrize(
    ("is_told", "warning"),
    [
        (True, "tiny:1 runs on the CPU: AzureExecutionProvider, CPUExecutionProvider failed: no device"),
        (False, "tiny:1 runs without AzureExecutionProvider"),
    ],
    ids=["raises", "is left out"],
)
def test_provider_that_fails_is_warned_of_and_done_without(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    is_told: bool,
    warning: str,
) -> None:
    create = onnxruntime.InferenceSession._create_inference_session

    def fail_but_on_cpu(session: Any, providers: list[str], *arguments: Any) -> Any:
        if is_told and providers != [CPU]:
            raise RuntimeError("no device")
        return create(session, [CPU], *arguments)

    monkeypatch.setattr(onnxruntime.InferenceSession, "_create_inference_session", fail_but_on_cpu)

    session = load_ready_session(write_version(tmp_path, pixels_as_logits()), providers=("AzureExecutionProvider", CPU))

    assert session.run(np.zeros((1, 1, 2, 2), np.float32))["logits"].shape == (1, 4)
    assert warning in caplog.text
    assert capsys.readouterr().out == ""
