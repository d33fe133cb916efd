"""The proposed model.toml: what it shows as a default is the model's default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from inference.errors import ModelUnavailable
from inference.models.declaration import parse_declaration
from inference.models.loading import load_session
from inference.models.proposal import gives_probabilities, propose_declaration
from inference.models.signature import Signature, TensorInfo
from inference.models.spec import resolve_spec
from tests.unit.models.published import build_model, signature_of, write_version

_IMAGE = (None, 3, 8, 8)
_GRAY = (None, 1, 8, 8)
_GRAY_LAST = (None, 8, 8, 1)
#: A default that stands behind a #; `value` is a formula, mean and std are an example.
_SHOWN_DEFAULT = re.compile(r"^# (?=(?!value|mean|std)\w+ = )", re.MULTILINE)


@pytest.mark.parametrize(
    ("task", "signature"),
    [
        ("classification", signature_of(_IMAGE)),
        ("classification", signature_of(_IMAGE, dtype="uint8")),
        ("classification", signature_of(_GRAY)),
        ("classification", signature_of(_GRAY_LAST, dtype="uint8")),
        ("detection", signature_of(_IMAGE, outputs=[TensorInfo("output0", "float32", (1, 84, 8400))])),
        ("text", signature_of((None, 1), dtype="string")),
        ("tensor", signature_of((None, 10))),
        ("tensor", Signature((TensorInfo("a", "float32", _IMAGE),) * 2, (TensorInfo("b", "float32", (None, 10)),))),
    ],
)
def test_defaults_that_a_proposal_shows_change_nothing(task: str, signature: Signature) -> None:
    proposal = propose_declaration(signature, task, "model.onnx")
    shown = _SHOWN_DEFAULT.sub("", proposal)

    assert (shown == proposal) == (task == "tensor")
    as_proposed, as_shown = (resolve_spec(parse_declaration(text.encode()), signature) for text in (proposal, shown))
    assert as_shown == as_proposed


@pytest.mark.parametrize("shape", [_IMAGE, _GRAY, _GRAY_LAST])
def test_the_example_of_mean_and_std_has_a_value_for_each_channel(shape: tuple[int | None, ...]) -> None:
    signature = signature_of(shape)
    proposal = propose_declaration(signature, "classification", "model.onnx")
    taken = proposal.replace("# mean", "mean").replace("# std", "std")

    spec = resolve_spec(parse_declaration(taken.encode()), signature)

    assert spec != resolve_spec(parse_declaration(proposal.encode()), signature)


def detector(image: tuple[int | None, ...], **outputs: tuple[int | None, ...]) -> Signature:
    found = [TensorInfo(name, "float32", shape) for name, shape in outputs.items()]
    return signature_of(image, outputs=found)


_SQUARE = (1, 3, 416, 416)
_SSD = {"detection_boxes": (1, 10, 4), "detection_scores": (1, 10), "detection_classes": (1, 10)}


@pytest.mark.parametrize(
    ("signature", "decoder"),
    [
        (detector(_SQUARE, output=(1, 3549, 85)), "yolox"),
        (detector(_SQUARE, output0=(1, 84, 3549)), "yolov8"),
        (detector(_SQUARE, output0=(None, 84, None)), "yolov8"),
        (detector(_SQUARE, **_SSD, num_detections=(1,), raw_detection_boxes=(1, 90, 4)), "ssd"),
        (detector(_SQUARE, boxes=(None, 4), labels=(None,), scores=(None,)), "ssd"),
        (detector(_SQUARE, scores=(1, 90, 2), boxes=(1, 90, 4)), "boxes-scores"),
    ],
)
def test_decoder_of_a_detector_is_proposed_from_its_outputs(signature: Signature, decoder: str) -> None:
    proposal = propose_declaration(signature, "detection", "model.onnx")
    declared = parse_declaration(proposal.encode())
    shown = parse_declaration(_SHOWN_DEFAULT.sub("", proposal).encode())

    assert declared.detection is not None
    assert declared.detection.decoder == decoder
    assert resolve_spec(shown, signature) == resolve_spec(declared, signature)
    # Only the author knows the form of boxes.
    assert ("# units = " in proposal) == (decoder != "yolox")


@pytest.mark.parametrize(
    "signature",
    [
        detector(_SQUARE, output0=(1, 300, 6)),
        detector(_SQUARE, output0=(1, 25200, 85)),
        detector(_SQUARE, output0=(None, None, None)),
        detector(_SQUARE, output0=(1, 116, 8400), output1=(1, 32, 16, 16)),
        detector(_SQUARE, logits=(1, 100, 92), pred_boxes=(1, 100, 4)),
    ],
)
def test_outputs_that_tell_no_decoder_leave_it_to_the_author(signature: Signature) -> None:
    declared = parse_declaration(propose_declaration(signature, "detection", "model.onnx").encode())

    with pytest.raises(ModelUnavailable, match="must name the decoder"):
        resolve_spec(declared, signature)


def test_task_that_the_graph_tells_is_shown_with_the_others() -> None:
    pair = [TensorInfo("logits", "float32", (None, 10)), TensorInfo("features", "float32", (None, 64))]
    for outputs, line in (
        (pair[:1], 'task = "classification"  # detection, text, tensor'),
        (pair, 'task = "tensor"  # classification, detection, text'),
    ):
        proposal = propose_declaration(signature_of(_IMAGE, outputs=outputs), None, "model.onnx")
        assert line in proposal.splitlines()


#: Scores of a graph, and what adds up to 1 for whatever image.
_ENDS = [
    ("Identity", TensorProto.FLOAT, False),
    ("Sigmoid", TensorProto.FLOAT, False),
    ("Softmax", TensorProto.FLOAT, True),
    ("Softmax", TensorProto.FLOAT16, True),
]


@pytest.mark.parametrize(("end", "kind", "expected"), _ENDS)
def test_probabilities_are_told_by_runs(tmp_path: Path, end: str, kind: int, expected: bool) -> None:
    model = build_model(
        [helper.make_node("Flatten", ["input"], ["flat"]), helper.make_node(end, ["flat"], ["scores"])],
        inputs={"input": (kind, [1, 1, 30, 30])},
        outputs={"scores": (kind, [1, 900])},
    )
    session = load_session(write_version(tmp_path, model))

    assert gives_probabilities(session) is expected


def test_score_of_one_number_is_no_probability_for_certain(tmp_path: Path) -> None:
    model = build_model(
        [helper.make_node("GlobalAveragePool", ["input"], ["mean"]), helper.make_node("Softmax", ["mean"], ["score"])],
        inputs={"input": (TensorProto.FLOAT, [1, 1, 2, 2])},
        outputs={"score": (TensorProto.FLOAT, [1, 1, 1, 1])},
    )

    assert gives_probabilities(load_session(write_version(tmp_path, model))) is False
