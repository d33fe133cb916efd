"""Decoders and detection: hand-made outputs of every layout become boxes in the image, and broken ones errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from msgspec.structs import replace
from numpy.typing import NDArray

from inference.errors import InferenceFailed, InvalidRequest, ModelUnavailable
from inference.models.declaration import parse_declaration
from inference.models.geometry import Frame
from inference.models.postprocess import check_outputs, postprocess
from inference.models.signature import TensorInfo
from inference.models.spec import ModelSpec, resolve_spec
from inference.models.tasks.detection import MAX_CANDIDATES, Detection
from tests.unit.models.published import signature_of

#: The canvas is 64 x 32 and the image twice as large, so that every box comes back doubled.
FRAME = Frame(128, 64)
LABELS = ("ant", "bee", "cat")
#: The cells of a YOLOX grid on this canvas: 8 x 4, 4 x 2 and 2 x 1.
CELLS = 42

type Outputs = Mapping[str, NDArray[Any]]


def spec_of(decoder: str, *names: str, more: str = "", labels: tuple[str, ...] = LABELS) -> ModelSpec:
    toml = f"[input]\nresize = 'stretch'\n[detection]\ndecoder = '{decoder}'\n{more}"
    outputs = [TensorInfo(name, "float32", (None,)) for name in names or ("output",)]
    return resolve_spec(parse_declaration(toml.encode()), signature_of((1, 3, 32, 64), outputs=outputs), labels)


def detect(outputs: Outputs, spec: ModelSpec, frame: Frame = FRAME, **parameters: Any) -> list[Detection]:
    check_outputs(outputs, spec)
    found = postprocess(outputs, spec, frame=frame, **parameters)
    return [Detection(**item) for item in found]  # type: ignore[typeddict-item]


def found(label: str, score: float, *box: float) -> Any:
    corners = dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return {"label": label, "score": pytest.approx(score), **{name: pytest.approx(v) for name, v in corners.items()}}


def yolox(*rows: tuple[int, tuple[float, ...]], cells: int = CELLS) -> Outputs:
    output = np.zeros((1, cells, 8), np.float32)
    for index, values in rows:
        output[0, index] = values
    return {"output": output}


def yolov8(*columns: tuple[float, ...], count: int = 20, is_transposed: bool = False) -> Outputs:
    output = np.zeros((1, 7, count), np.float32)
    for index, values in enumerate(columns):
        output[0, :, index] = values
    return {"output": output.transpose(0, 2, 1) if is_transposed else output}


def ssd(
    boxes: list[list[float]], scores: list[float], classes: list[float], count: float | None = None
) -> dict[str, NDArray[Any]]:
    outputs: dict[str, NDArray[Any]] = {
        "detection_boxes:0": np.array([boxes], np.float32).reshape(1, -1, 4),
        "detection_scores:0": np.array([scores], np.float32),
        "detection_classes:0": np.array([classes], np.float32),
    }
    return outputs if count is None else {**outputs, "num_detections:0": np.array([count], np.float32)}


SSD_NAMES = ("detection_boxes:0", "detection_classes:0", "detection_scores:0", "num_detections:0")


def boxes_scores(boxes: Any, scores: Any) -> Outputs:
    return {"boxes": np.array([boxes], np.float32).reshape(1, -1, 4), "scores": np.array([scores], np.float32)}


def test_yolox_adds_the_grid_and_multiplies_by_the_stride() -> None:
    # Cell 9 of the first level is the second of the second row; cell 32 begins the second level; 41 ends the last.
    small = (9, (0.5, 0.25, 0.0, np.log(2), 0.9, 0.0, 1.0, 0.0))
    middle = (32, (1.0, 0.5, np.log(0.5), 0.0, 0.5, 1.0, 0.0, 0.0))
    large = (41, (-0.5, 0.5, 0.0, 0.0, 1.0, 0.0, 0.0, 0.45))
    spec = spec_of("yolox")

    assert detect(yolox(small, middle, large), spec) == [
        found("bee", 0.9, 2 * 8, 2 * 2, 2 * 16, 2 * 18),
        found("ant", 0.5, 2 * 12, 0, 2 * 20, 2 * 16),
        found("cat", 0.45, 0, 0, 2 * 32, 2 * 32),
    ]


def test_yolox_with_a_fourth_stride_is_told_by_its_number_of_rows() -> None:
    toml = b"[input]\nresize = 'stretch'\n[detection]\ndecoder = 'yolox'"
    spec = resolve_spec(parse_declaration(toml), signature_of((1, 3, 64, 64)), LABELS)
    last = (84, (0.5, 0.5, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0))

    assert detect(yolox(last, cells=85), spec, Frame(64, 64)) == [found("ant", 1, 0, 0, 64, 64)]


@pytest.mark.parametrize("is_transposed", [False, True])
def test_yolov8_columns_or_rows_hold_a_centre_and_scores(is_transposed: bool) -> None:
    outputs = yolov8((16, 8, 8, 4, 0.1, 0.8, 0.2), (40, 20, 4, 4, 0.5, 0.1, 0.6), is_transposed=is_transposed)

    assert detect(outputs, spec_of("yolov8")) == [
        found("bee", 0.8, 24, 12, 40, 20),
        found("cat", 0.6, 76, 36, 84, 44),
        found("ant", 0.5, 76, 36, 84, 44),
    ]


@pytest.mark.parametrize("is_transposed", [False, True])
def test_yolov8_without_labels_tells_its_axes_by_their_length(is_transposed: bool) -> None:
    outputs = yolov8((16, 8, 8, 4, 0.1, 0.8, 0.2), is_transposed=is_transposed)

    assert detect(outputs, spec_of("yolov8", labels=())) == [found("1", 0.8, 24, 12, 40, 20)]


def test_yolov8_with_fewer_proposals_than_values_is_told_by_its_labels() -> None:
    outputs = yolov8((16, 8, 8, 4, 0.1, 0.8, 0.2), count=2)

    assert detect(outputs, spec_of("yolov8")) == [found("bee", 0.8, 24, 12, 40, 20)]


def test_logits_become_scores_where_the_declaration_says_so() -> None:
    spec = spec_of("yolov8", more="[output]\nactivation = 'sigmoid'")

    assert detect(yolov8((16, 8, 8, 4, -9, np.log(3), -9), count=1), spec) == [found("bee", 0.75, 24, 12, 40, 20)]


def test_ssd_of_tensorflow_has_shares_with_y_first_and_a_count() -> None:
    boxes = [[0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]]
    outputs = ssd(boxes, [0.9, 0.5, 0.99], [1, 2, 0], count=2)

    assert detect(outputs, spec_of("ssd", *SSD_NAMES)) == [
        found("bee", 0.9, 64, 16, 128, 48),
        found("cat", 0.5, 0, 0, 128, 64),
    ]


def test_ssd_of_the_model_zoo_has_x_first_and_no_count() -> None:
    spec = spec_of("ssd", "bboxes", "labels", "scores", more="box = 'xyxy'")
    outputs: Outputs = {
        "bboxes": np.array([[[0.5, 0.25, 1.0, 0.75]]], np.float32),
        "labels": np.array([[2]], np.int64),
        "scores": np.array([[0.9]], np.float32),
    }

    assert detect(outputs, spec) == [found("cat", 0.9, 64, 16, 128, 48)]


def test_ssd_padding_after_the_best_boxes_is_not_looked_at() -> None:
    outputs = ssd([[0, 0, 1, 1], [np.nan] * 4], [0.9, 0.0], [1, -1])

    assert len(detect(outputs, spec_of("ssd", *SSD_NAMES[:3]))) == 1


def test_a_box_in_the_padding_takes_no_place_among_the_best() -> None:
    spec = spec_of("boxes-scores", "scores", "boxes", more="units = 'pixels'")
    spec = replace(spec, image=replace(spec.image, resize="letterbox-top-left")) if spec.image else spec
    # The image fills the left half of the canvas.
    outputs = boxes_scores([[40, 0, 60, 20], [0, 0, 16, 16]], [[0.9, 0, 0], [0.6, 0, 0]])

    assert detect(outputs, spec, Frame(32, 32), top_k=1) == [found("ant", 0.6, 0, 0, 16, 16)]


def test_boxes_and_scores_leave_out_the_background() -> None:
    spec = spec_of("boxes-scores", "scores", "boxes", labels=("BACKGROUND", "face"))
    outputs = boxes_scores([[0.5, 0, 1, 0.5], [0, 0, 1, 1]], [[0.1, 0.9], [0.95, 0.05]])

    assert detect(outputs, spec) == [found("face", 0.9, 64, 0, 128, 32)]


@pytest.mark.parametrize("scores", [[0.9, 0.1], [[0.9], [0.1]]])
def test_scores_of_a_single_class_may_lack_their_dimension(scores: Any) -> None:
    spec = spec_of("boxes-scores", "scores", "boxes", more="units = 'pixels'", labels=("plate",))

    assert detect(boxes_scores([[1, 2, 3, 4], [0, 0, 9, 9]], scores), spec) == [found("plate", 0.9, 2, 4, 6, 8)]


@pytest.mark.parametrize(
    ("more", "box"),
    [
        ("box = 'xyxy'\nunits = 'pixels'", [8, 4, 16, 12]),
        ("box = 'yxyx'\nunits = 'pixels'", [4, 8, 12, 16]),
        ("box = 'cxcywh'\nunits = 'pixels'", [12, 8, 8, 8]),
        ("box = 'xyxy'\nunits = 'normalized'", [8 / 64, 4 / 32, 16 / 64, 12 / 32]),
        ("box = 'yxyx'", [4 / 32, 8 / 64, 12 / 32, 16 / 64]),
        ("box = 'cxcywh'", [12 / 64, 8 / 32, 8 / 64, 8 / 32]),
    ],
)
def test_boxes_are_written_as_the_declaration_says(more: str, box: list[float]) -> None:
    spec = spec_of("boxes-scores", "scores", "boxes", more=more)

    assert detect(boxes_scores([box], [[0, 0.9, 0]]), spec) == [found("bee", 0.9, 16, 8, 32, 24)]


def test_boxes_end_at_the_image_and_those_beside_it_are_left_out() -> None:
    spec = spec_of("boxes-scores", "scores", "boxes", labels=("ant",))
    boxes = [[-0.5, -1, 0.5, 2], [1.1, 0, 1.2, 1], [0.5, 0.5, 0.5, 0.9], [0.6, 0.6, 0.4, 0.4]]

    assert detect(boxes_scores(boxes, [0.9, 0.8, 0.7, 0.6]), spec) == [found("ant", 0.9, 0, 0, 64, 64)]


#: Three boxes of a class, the second over the first; and one of another class in the same place.
CROWD = boxes_scores(
    [[0, 0, 0.5, 1], [0, 0, 0.5, 0.8], [0.5, 0, 1, 1], [0, 0, 0.5, 1]],
    [[0.9, 0, 0], [0.8, 0, 0], [0.5, 0, 0], [0, 0.4, 0]],
)


@pytest.mark.parametrize(
    ("parameters", "scores"),
    [
        ({}, [0.9, 0.5, 0.4]),
        ({"iou_threshold": 0.9}, [0.9, 0.8, 0.5, 0.4]),
        ({"score_threshold": 0.45}, [0.9, 0.5]),
        ({"min_score": 0.45}, [0.9, 0.5]),
        ({"score_threshold": 0.6, "min_score": 0.1}, [0.9]),
        ({"score_threshold": 0.95}, []),
        ({"max_detections": 2}, [0.9, 0.5]),
        ({"top_k": 1}, [0.9]),
        ({"top_k": 3, "max_detections": 2}, [0.9, 0.5]),
    ],
)
def test_parameters_of_the_caller_go_before_the_models_own(parameters: dict[str, Any], scores: list[float]) -> None:
    predictions = detect(CROWD, spec_of("boxes-scores", "scores", "boxes"), **parameters)

    assert [prediction["score"] for prediction in predictions] == pytest.approx(scores)


def test_predictions_are_plain_numbers() -> None:
    prediction = detect(CROWD, spec_of("boxes-scores", "scores", "boxes"))[0]

    assert {type(value) for value in prediction.values()} == {str, float}


EMPTY = [
    ("yolov8", {"output": np.zeros((1, 7, 0), np.float32)}),
    ("boxes-scores", {"boxes": np.zeros((1, 0, 4), np.float32), "scores": np.zeros((1, 0, 3), np.float32)}),
    ("ssd", ssd([], [], [])),
    ("ssd", ssd([[0, 0, 1, 1]], [0.9], [1], count=0)),
]


@pytest.mark.parametrize(("decoder", "outputs"), EMPTY)
def test_no_proposals_are_no_predictions(decoder: str, outputs: Outputs) -> None:
    assert detect(outputs, spec_of(decoder, *outputs)) == []


SHAPES: list[tuple[str, Outputs, str]] = [
    ("yolox", {}, "output output is not a tensor"),
    ("yolox", {"output": np.array([["a"]])}, "not a tensor of numbers"),
    ("yolox", {"output": np.zeros((1, CELLS, 5), np.float32)}, r"shape \[1, 42, 5\]"),
    ("yolox", {"output": np.zeros((1, CELLS - 1, 8), np.float32)}, "41 rows, which no YOLOX grid of 64 x 32"),
    ("yolox", {"output": np.zeros((2, CELLS, 8), np.float32)}, r"shape \[2, 42, 8\]"),
    ("yolox", {"output": np.zeros((1, CELLS, 9), np.float32)}, "4 scores a box for 3 labels"),
    ("yolov8", {"output": np.zeros((1, 9, 20), np.float32)}, "5 scores a box for 3 labels"),
    ("yolov8", {"output": np.zeros((1, 20, 9), np.float32)}, "5 scores a box for 3 labels"),
    ("yolov8", {"output": np.zeros(7, np.float32)}, r"shape \[7\]"),
    ("boxes-scores", {"boxes": np.zeros((1, 5, 4)), "scores": np.zeros((1, 6, 3))}, "one box for each row"),
    ("boxes-scores", {"boxes": np.zeros((1, 5, 3)), "scores": np.zeros((1, 5, 3))}, r"shape \[1, 5, 3\]"),
    ("boxes-scores", {"boxes": np.zeros((1, 5, 4)), "scores": np.zeros((1, 5, 2))}, "2 scores a box for 3 labels"),
    ("ssd", {**ssd([[0, 0, 1, 1]], [0.9, 0.8], [1, 1])}, "one box for each score"),
    ("ssd", ssd([[0, 0, 1, 1]], [0.9], [1], count=2), "counts 2.0 boxes and gives 1"),
    ("ssd", ssd([[0, 0, 1, 1]], [0.9], [1], count=-1), "counts -1.0 boxes"),
    ("ssd", ssd([[0, 0, 1, 1]], [0.9], [1], count=float("nan")), "counts nan boxes"),
    ("ssd", {**ssd([[0, 0, 1, 1]], [0.9], [1]), "num_detections:0": np.zeros(2)}, r"shape \[2\], not one count"),
]


@pytest.mark.parametrize(("decoder", "outputs", "reason"), SHAPES)
def test_outputs_of_another_shape_are_a_failure_of_the_model(decoder: str, outputs: Outputs, reason: str) -> None:
    spec = spec_of(decoder, *outputs)

    for call in (lambda: check_outputs(outputs, spec), lambda: postprocess(outputs, spec, frame=FRAME)):
        with pytest.raises(InferenceFailed, match=reason):
            call()


VALUES: list[tuple[str, Outputs, str]] = [
    ("yolox", yolox((0, (0, 0, 0, 0, np.nan, 1, 1, 1))), "scores are not finite"),
    ("yolox", yolox((0, (0, 0, 1e4, 0, 1, 1, 1, 1))), "boxes are not finite"),
    ("yolov8", yolov8((0, 0, 1, 1, np.inf, 0, 0)), "scores are not finite"),
    ("yolov8", yolov8((np.nan, 0, 1, 1, 0.9, 0, 0)), "boxes are not finite"),
    ("boxes-scores", boxes_scores([[0, 0, np.inf, 1]], [[0.9, 0, 0]]), "boxes are not finite"),
    ("ssd", ssd([[0, 0, 1, 1]], [0.9], [3]), "found class 3; there are 3 labels"),
    ("ssd", ssd([[0, 0, 1, 1]], [0.9], [-1]), "not numbers of classes"),
    ("ssd", ssd([[0, 0, 1, 1]], [0.9], [0.5]), "not numbers of classes"),
    ("ssd", ssd([[0, 0, 1, 1]], [0.9], [np.nan]), "not numbers of classes"),
    ("ssd", ssd([[0, 0, 1, 1]], [0.9], [3e38]), "not numbers of classes"),
    ("ssd", ssd([[0, 0, 1, 1]], [np.nan], [1]), "scores are not finite"),
]


@pytest.mark.parametrize(("decoder", "outputs", "reason"), VALUES)
def test_values_that_mean_nothing_never_leave(decoder: str, outputs: Outputs, reason: str) -> None:
    spec = spec_of(decoder, *outputs)

    check_outputs(outputs, spec)
    with pytest.raises(InferenceFailed, match=reason):
        postprocess(outputs, spec, frame=FRAME)


def test_box_that_no_one_asked_for_may_be_anything() -> None:
    outputs = yolox((0, (0, 0, 1e4, np.inf, 0.1, 1, 0, 0)), (9, (0, 0, 0, 0, 0.9, 1, 0, 0)))

    assert len(detect(outputs, spec_of("yolox"))) == 1


def test_a_hundred_thousand_candidates_of_three_classes_are_bounded_to_the_best() -> None:
    random = np.random.default_rng(5)
    corners = random.random((100_000, 2), np.float32)
    boxes = np.hstack((corners, corners + 0.001))
    scores = random.random((100_000, 3), np.float32) * 0.5 + 0.5
    outputs = {"boxes": boxes[np.newaxis], "scores": scores[np.newaxis]}
    spec = spec_of("boxes-scores", *outputs, more="score_threshold = 0.0")

    predictions = detect(outputs, spec, Frame(4000, 2000), iou_threshold=1, max_detections=1000)

    assert MAX_CANDIDATES > 1000
    assert [p["score"] for p in predictions[:500]] == np.sort(scores.reshape(-1))[::-1][:500].tolist()


def test_an_infinite_objectness_beside_a_score_of_zero_is_a_failure_of_the_model_and_no_warning() -> None:
    rows = np.zeros((1, CELLS, 8), np.float32)
    rows[..., 4] = np.inf

    with pytest.raises(InferenceFailed, match="finite"):
        detect({"output": rows}, spec_of("yolox", "output"))


@given(
    st.sampled_from(["yolox", "yolov8", "boxes-scores", "ssd"]),
    st.data(),
    st.sampled_from([np.float32, np.float16, np.int64, np.uint8]),
)
def test_whatever_comes_out_of_a_model_is_predictions_or_a_failure(
    decoder: str, data: st.DataObject, dtype: type
) -> None:
    names = {"boxes-scores": ("boxes", "scores"), "ssd": SSD_NAMES}.get(decoder, ("output",))
    likely = st.sampled_from([(1, CELLS, 8), (1, 7, 20), (1, 5, 4), (1, 5, 3), (1, 5), (1,), (5, 4)])
    shapes = st.one_of(likely, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9))
    outputs = {name: data.draw(arrays.arrays(dtype, shapes), label=name) for name in names}

    try:
        predictions = detect(outputs, spec_of(decoder, *names))
    except InferenceFailed:
        return
    for item in predictions:
        assert 0 <= item["xmin"] < item["xmax"] <= FRAME.width
        assert 0 <= item["ymin"] < item["ymax"] <= FRAME.height
        assert item["label"] in LABELS


def test_classifier_detects_nothing() -> None:
    spec = resolve_spec(parse_declaration(b""), signature_of((None, 3, 8, 8)))

    with pytest.raises(InvalidRequest, match="score_threshold has no meaning for a classification model"):
        postprocess({"output": np.zeros((1, 10))}, spec, frame=FRAME, score_threshold=0.5)


@pytest.mark.parametrize(
    ("decoder", "names", "more", "outputs"),
    [
        ("yolox", ("output",), "", {"predictions": "output"}),
        ("yolov8", ("output0", "protos"), "[output]\nname = 'output0'", {"predictions": "output0"}),
        (
            "ssd",
            (
                "raw_detection_boxes",
                "detection_multiclass_scores",
                "detection_boxes",
                "detection_scores",
                "detection_classes",
                "num_detections",
                "raw_detection_scores",
            ),
            "",
            {
                "boxes": "detection_boxes",
                "scores": "detection_scores",
                "classes": "detection_classes",
                "count": "num_detections",
            },
        ),
        ("ssd", ("bboxes", "labels", "scores"), "", {"boxes": "bboxes", "scores": "scores", "classes": "labels"}),
        ("boxes-scores", ("a", "b"), "boxes = 'b'\nscores = 'a'", {"boxes": "b", "scores": "a"}),
    ],
)
def test_outputs_are_told_by_their_names_or_by_the_declaration(
    decoder: str, names: tuple[str, ...], more: str, outputs: dict[str, str]
) -> None:
    spec = spec_of(decoder, *names, more=more)

    assert spec.detection is not None
    assert spec.detection.outputs == outputs
    assert set(spec.output_names) == set(outputs.values())


@pytest.mark.parametrize(
    ("decoder", "names", "more", "key"),
    [
        ("yolov8", ("a", "b"), "", r"output\.name: it must be given"),
        ("boxes-scores", ("a", "b"), "", r"detection\.boxes: it must name one of the model's outputs: a, b"),
        ("boxes-scores", ("boxes", "scores"), "boxes = 'c'", r"detection\.boxes: the model's outputs are boxes"),
        ("boxes-scores", ("boxes", "scores"), "count = 'boxes'", r"detection\.count: it has no meaning with decoder"),
        ("ssd", ("boxes", "scores"), "", r"detection\.classes: it must name"),
        ("yolox", ("output",), "units = 'pixels'", r"detection\.units: a yolox model's boxes"),
    ],
)
def test_outputs_that_cannot_be_told_are_refused(decoder: str, names: tuple[str, ...], more: str, key: str) -> None:
    with pytest.raises(ModelUnavailable, match=rf"^model\.toml: {key}"):
        spec_of(decoder, *names, more=more)
