"""Model sessions on the real onnxruntime: what loads, what is refused and why, and how a run can end."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from inference.engine.measurement import Interrupted
from inference.errors import DeadlineExceeded, InferenceFailed, ModelUnavailable
from inference.models.loading import load_session
from inference.models.manifest import MANIFEST_NAME, write_manifest
from inference.models.repository import ModelRepository, ModelVersion
from inference.models.runtime import create_session
from tests.unit.models.published import (
    Shape,
    build_model,
    endless_loop,
    pixels_as_logits,
    weighted_model,
    write_version,
)

LABELS = ["a", "b", "c", "d"]
PIXELS = np.array([[[[1, 2], [3, 4]]]], np.float32)


def republished(version: ModelVersion) -> ModelVersion:
    return ModelRepository(version.path.parent.parent).resolve(str(version))


def test_session_runs_and_tells_what_it_is(tmp_path: Path) -> None:
    version = write_version(tmp_path, pixels_as_logits(), labels=LABELS)
    session = load_session(version)
    session.warm()

    assert str(session.version) == str(version)
    assert session.sha256 == json.loads((version.path / MANIFEST_NAME).read_bytes())["files"]["model.onnx"]["sha256"]
    assert session.bytes == sum(p.stat().st_size for p in version.path.iterdir() if p.name != MANIFEST_NAME)
    assert session.spec.output.labels == tuple(LABELS)
    assert session.signature.inputs[0].shape == (None, 1, 2, 2)
    assert session.run(PIXELS)["logits"].tolist() == [[1, 2, 3, 4]]


def test_every_row_of_a_batch_is_the_single_result(tmp_path: Path) -> None:
    session = load_session(write_version(tmp_path, pixels_as_logits()))
    batch = np.random.default_rng(0).random((5, 1, 2, 2), np.float32)

    rows = session.run(batch)["logits"]
    assert np.array_equal(rows, np.concatenate([session.run(item[np.newaxis])["logits"] for item in batch]))


def test_classification_computes_only_the_output_that_it_reads(tmp_path: Path) -> None:
    model = build_model(
        [helper.make_node("Flatten", ["input"], ["logits"]), helper.make_node("Flatten", ["input"], ["features"])],
        inputs={"input": (TensorProto.FLOAT, ["batch", 1, 2, 2])},
        outputs={"logits": (TensorProto.FLOAT, ["batch", 4]), "features": (TensorProto.FLOAT, ["batch", 4])},
    )
    declared = "task = 'classification'\n[output]\nname = 'features'"

    assert sorted(load_session(write_version(tmp_path, model)).run(PIXELS)) == ["features", "logits"]
    session = load_session(write_version(tmp_path, model, version="2", toml=declared))
    assert list(session.run(PIXELS)) == ["features"]


def test_text_model_takes_strings(tmp_path: Path) -> None:
    model = build_model(
        [helper.make_node("Identity", ["text"], ["same"])],
        inputs={"text": (TensorProto.STRING, [None, 1])},
        outputs={"same": (TensorProto.STRING, [None, 1])},
    )
    session = load_session(write_version(tmp_path, model))
    session.warm()

    assert session.spec.task == "text"
    assert session.run(np.array([["hello"]], object))["same"].tolist() == [["hello"]]


def test_model_with_several_inputs_runs_by_name(tmp_path: Path) -> None:
    model = build_model(
        [helper.make_node("Add", ["left", "right"], ["sum"])],
        inputs={"left": (TensorProto.FLOAT, [None]), "right": (TensorProto.FLOAT, [None])},
        outputs={"sum": (TensorProto.FLOAT, [None])},
    )
    session = load_session(write_version(tmp_path, model))
    session.warm()
    one = np.ones(3, np.float32)

    assert session.run_tensors({"left": one, "right": one})["sum"].tolist() == [2, 2, 2]
    with pytest.raises(InferenceFailed, match="several inputs"):
        session.run(one)


def test_output_of_a_type_that_numpy_does_not_have_is_not_asked_for(tmp_path: Path) -> None:
    model = build_model(
        [
            helper.make_node("Cast", ["x"], ["short"], to=TensorProto.BFLOAT16),
            helper.make_node("Identity", ["x"], ["same"]),
        ],
        inputs={"x": (TensorProto.FLOAT, [2])},
        outputs={"short": (TensorProto.BFLOAT16, [2]), "same": (TensorProto.FLOAT, [2])},
    )
    session = load_session(write_version(tmp_path, model, toml='task = "tensor"\n'))
    session.warm()

    assert list(session.run(np.ones(2, np.float32))) == ["same"]


def test_external_data_that_the_manifest_lists_is_loaded(tmp_path: Path) -> None:
    weights = np.full((1, 4), 3, np.float32).tobytes()
    version = write_version(tmp_path, weighted_model("weights.bin"), files={"weights.bin": weights})

    assert load_session(version).run(PIXELS)["logits"].tolist() == [[3, 6, 9, 12]]


def list_no_weights(folder: Path) -> None:
    write_manifest(folder)
    (folder / "weights.bin").write_bytes(bytes(16))


def link_weights(folder: Path) -> None:
    (folder.parent / "secret").write_bytes(bytes(16))
    write_manifest(folder)
    (folder / "weights.bin").symlink_to(folder.parent / "secret")


@pytest.mark.parametrize("publish", [list_no_weights, link_weights, write_manifest])
def test_external_data_that_the_manifest_does_not_list_is_refused(
    tmp_path: Path, publish: Callable[[Path], object]
) -> None:
    version = write_version(tmp_path, weighted_model("weights.bin"))
    publish(version.path)

    with pytest.raises(ModelUnavailable, match=r"weights\.bin: it is not listed|onnxruntime refuses it"):
        load_session(republished(version))


@pytest.mark.parametrize(
    ("opset", "ir_version", "reason"),
    [
        (99, 8, r"Opset 99 is under development.* official support for domain ai\.onnx is till opset \d+"),
        (17, 99, r"failed: Unsupported model IR version: 99, max supported IR version: \d+"),
    ],
)
def test_model_newer_than_onnxruntime_is_refused_with_what_would_do(
    tmp_path: Path, opset: int, ir_version: int, reason: str
) -> None:
    model = build_model(
        [helper.make_node("Identity", ["x"], ["y"])],
        inputs={"x": (TensorProto.FLOAT, ["n"])},
        outputs={"y": (TensorProto.FLOAT, ["n"])},
        opsets={"": opset},
        ir_version=ir_version,
    )
    version = write_version(tmp_path, model)

    with pytest.raises(ModelUnavailable, match=reason) as refusal:
        load_session(version)
    assert "::" not in refusal.value.message


@pytest.mark.parametrize("location", ["../secret", "{outside}/secret", "nested/../../secret"])
def test_external_data_outside_the_version_is_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "secret").write_bytes(bytes(16))
    version = write_version(tmp_path, weighted_model(location.format(outside=tmp_path / "tiny")))

    with pytest.raises(ModelUnavailable, match=r"^tiny:1: model\.onnx: onnxruntime refuses it") as refusal:
        load_session(version)
    assert str(tmp_path) not in refusal.value.message


def test_external_data_is_never_read_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(16))
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ModelUnavailable, match="onnxruntime refuses it"):
        load_session(write_version(tmp_path / "models", weighted_model("weights.bin")))


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 13964266\n"
PLAIN: dict[str, tuple[int, Shape | None]] = {"input": (TensorProto.FLOAT, ["batch", 1, 2, 2])}
LOGITS: dict[str, tuple[int, Shape | None]] = {"logits": (TensorProto.FLOAT, ["batch", 4])}


@pytest.mark.parametrize(
    "model",
    [
        b"garbage",
        b"<!DOCTYPE html><title>404</title>",
        LFS_POINTER,
        pixels_as_logits()[:40],
        build_model([], inputs={}, outputs={}),
        build_model([helper.make_node("NoSuchOp", ["input"], ["logits"])], inputs=PLAIN, outputs=LOGITS),
        build_model(
            [helper.make_node("Flatten", ["input"], ["logits"], domain="com.example")],
            inputs=PLAIN,
            outputs=LOGITS,
            opsets={"": 17, "com.example": 1},
        ),
        build_model(
            [helper.make_node("Flatten", ["input"], ["logits"])], inputs=PLAIN, outputs=LOGITS, opsets={"": 99}
        ),
        build_model([helper.make_node("Flatten", ["input"], ["logits"])], inputs=PLAIN, outputs=LOGITS, ir_version=99),
    ],
    ids=["garbage", "html", "lfs-pointer", "truncated", "no-io", "unknown-op", "custom-domain", "opset-99", "ir-99"],
)
def test_file_that_is_no_model_for_us_is_refused_without_saying_where_it_lies(
    tmp_path: Path, model: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    version = write_version(tmp_path, model)

    with pytest.raises(ModelUnavailable, match=r"^tiny:1: ") as refusal:
        load_session(version).warm()
    assert str(tmp_path) not in refusal.value.message
    assert " /" not in refusal.value.message
    assert capfd.readouterr().err == ""


def test_empty_model_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"model\.onnx: 0 bytes is not a size"):
        load_session(write_version(tmp_path, b""))


def test_version_without_a_model_is_refused(tmp_path: Path) -> None:
    version = write_version(tmp_path, b"x")
    (version.path / "model.onnx").unlink()
    (version.path / "labels.txt").write_text("a\n")
    write_manifest(version.path)

    with pytest.raises(ModelUnavailable, match=r"manifest\.json: it lists no model\.onnx"):
        load_session(republished(version))


def test_model_that_is_not_the_one_of_the_manifest_is_refused(tmp_path: Path) -> None:
    version = write_version(tmp_path, pixels_as_logits())
    model = version.path / "model.onnx"
    model.write_bytes(model.read_bytes().replace(b"Flatten", b"flatten"))

    with pytest.raises(ModelUnavailable, match=r"^tiny:1: model\.onnx: its sha256 is not the one"):
        load_session(version)


def test_hard_linked_model_is_refused(tmp_path: Path) -> None:
    version = write_version(tmp_path, pixels_as_logits())
    os.link(version.path / "model.onnx", tmp_path / "other-name")

    with pytest.raises(ModelUnavailable, match="hard link"):
        load_session(version)


def test_manifest_that_changed_since_the_lookup_is_refused(tmp_path: Path) -> None:
    version = write_version(tmp_path, pixels_as_logits())
    manifest = version.path / MANIFEST_NAME
    manifest.write_bytes(manifest.read_bytes() + b"\n")

    with pytest.raises(ModelUnavailable, match=r"manifest\.json: it changed since the version was looked up"):
        load_session(version)


@pytest.mark.parametrize(
    ("toml", "files", "reason"),
    [
        ("[input]\nsise = [2, 2]", {}, r"model\.toml: input\.sise: unknown key"),
        ("[input]\nsize = [3, 3]", {}, r"model\.toml: input\.size: the model takes 2 x 2"),
        ("[output]\nlabels = '../secret.txt'", {}, r"\.\./secret\.txt: it is not listed"),
        ("[output]\nlabels = 'names.txt'", {}, r"names\.txt: it is not listed"),
        ("", {"labels.txt": b"a\nb\n"}, r"model\.toml: output\.labels: 2 labels for 4 classes"),
        ("", {"labels.txt": b"a\n\nc\nd\n"}, r"labels\.txt: line 2 is empty"),
        ("", {"labels.txt": b""}, r"labels\.txt: line 1 is empty"),
        ("", {"labels.txt": b"\xff\n"}, r"labels\.txt: it is not UTF-8"),
    ],
)
def test_wrong_declaration_or_labels_are_refused(
    tmp_path: Path, toml: str, files: dict[str, bytes], reason: str
) -> None:
    with pytest.raises(ModelUnavailable, match=f"^tiny:1: {reason}"):
        load_session(write_version(tmp_path, pixels_as_logits(), toml=toml, files=files))


def test_labels_of_a_windows_editor_are_read_as_meant(tmp_path: Path) -> None:
    version = write_version(
        tmp_path, pixels_as_logits(), files={"labels.txt": "\ufeffä\r\nb\r\nc\r\nd\r\n\r\n".encode()}
    )

    assert load_session(version).spec.output.labels == ("ä", "b", "c", "d")


def test_input_that_the_model_does_not_take_is_a_failure_of_the_run(tmp_path: Path) -> None:
    session = load_session(write_version(tmp_path, pixels_as_logits()))

    for tensor in (np.zeros((1, 1, 3, 3), np.float32), np.zeros((1, 1, 2, 2), np.float64)):
        with pytest.raises(InferenceFailed, match="run failed"):
            session.run(tensor)


def endless_model() -> bytes:
    """A model whose run never ends."""
    return build_model(
        [
            endless_loop("true", "input", "looped"),
            helper.make_node("Flatten", ["looped"], ["logits"]),
        ],
        inputs=PLAIN,
        outputs=LOGITS,
        constants=[numpy_helper.from_array(np.array(True), "true")],
    )


def test_warm_up_of_a_model_that_never_ends_is_given_up(tmp_path: Path) -> None:
    session = load_session(write_version(tmp_path, endless_model()))

    with pytest.raises(ModelUnavailable, match=r"^tiny:1: warm-up: .*deadline"):
        session.warm(timeout_seconds=0.05)


def test_trial_run_that_is_under_way_when_somebody_needs_the_cores_is_ended(tmp_path: Path) -> None:
    session = load_session(write_version(tmp_path, endless_model()))

    with session.trial(lambda: False) as open_run:
        assert open_run is not None
        run = open_run(1, False)
        for _ in range(2):
            with pytest.raises(Interrupted):
                run(1)


def test_warm_up_gives_a_tensor_model_of_strings_none_that_it_may_not_take(tmp_path: Path) -> None:
    texts: tuple[int, Shape] = (TensorProto.STRING, ["batch"])
    numbers: tuple[int, Shape] = (TensorProto.INT64, ["batch"])
    cast = helper.make_node("Cast", ["text"], ["number"], to=TensorProto.INT64)
    model = build_model([cast], inputs={"text": texts}, outputs={"number": numbers})
    session = load_session(write_version(tmp_path, model, toml='task = "tensor"'))

    session.warm()

    assert session.run_tensors({"text": np.array(["42"], object)})["number"].tolist() == [42]


def test_run_gives_the_outputs_that_are_asked_for(tmp_path: Path) -> None:
    single: tuple[int, Shape] = (TensorProto.FLOAT, ["batch"])
    nodes = [helper.make_node("Neg", ["x"], ["minus"]), helper.make_node("Abs", ["x"], ["size"])]
    model = build_model(nodes, inputs={"x": single}, outputs={"minus": single, "size": single})
    session = load_session(write_version(tmp_path, model, toml='task = "tensor"'))
    tensors = {"x": np.array([2], np.float32)}

    assert session.run_tensors(tensors, output_names=["size"]) == {"size": [2]}
    assert [*session.run_tensors(tensors)] == ["minus", "size"]


def test_run_that_was_terminated_ran_out_of_time(tmp_path: Path) -> None:
    session = load_session(write_version(tmp_path, pixels_as_logits()))
    run_options = onnxruntime.RunOptions()
    run_options.terminate = True

    with pytest.raises(DeadlineExceeded):
        session.run(PIXELS, run_options=run_options)
    assert session.run(PIXELS)["logits"].shape == (1, 4)


def test_warm_up_refuses_outputs_that_are_not_one_score_a_class(tmp_path: Path) -> None:
    model = build_model(
        [helper.make_node("Identity", ["input"], ["logits"])],
        inputs={"input": (TensorProto.FLOAT, ["batch", 1, 2, 2])},
        outputs={"logits": (TensorProto.FLOAT, None)},
    )

    with pytest.raises(ModelUnavailable, match=r"^tiny:1: warm-up: .*shape \[1, 1, 2, 2\]"):
        load_session(write_version(tmp_path, model)).warm()


def test_threads_are_the_declared_ones_or_one_and_spin_only_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = write_version(tmp_path, pixels_as_logits(), toml="[execution]\nthreads = 2")
    silent = write_version(tmp_path, pixels_as_logits(), version="2")
    options: list[onnxruntime.SessionOptions] = []
    create = onnxruntime.InferenceSession

    def create_and_note(path: Path, option: onnxruntime.SessionOptions, **named: Any) -> Any:
        options.append(option)
        return create(path, option, **named)

    monkeypatch.setattr(onnxruntime, "InferenceSession", create_and_note)

    load_session(declared)
    load_session(silent)
    create_session(declared, 4, spinning=True)

    assert [option.intra_op_num_threads for option in options] == [2, 1, 4]
    spinning = "session.intra_op.allow_spinning"
    assert [option.get_session_config_entry(spinning) for option in options] == ["0", "0", "1"]


def test_helper_models_are_what_onnx_calls_valid() -> None:
    for model in (pixels_as_logits(), endless_model()):
        onnx.checker.check_model(onnx.load_from_string(model))
