"""The model spec: what the model answers itself, what has a default, and what may not contradict it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from inference.errors import ModelUnavailable
from inference.models.declaration import parse_declaration
from inference.models.signature import Signature, TensorInfo
from inference.models.spec import ImageSpec, ModelSpec, resolve_spec
from tests.unit.models.published import signature_of

SCORES = TensorInfo("output", "float32", (None, 10))
NCHW = (None, 3, 224, 192)


def resolve(toml: str, signature: Signature, labels: Sequence[str] = ()) -> ModelSpec:
    return resolve_spec(parse_declaration(toml.encode()), signature, tuple(labels))


def image_of(spec: ModelSpec) -> ImageSpec:
    assert spec.image is not None
    return spec.image


def test_silent_declaration_takes_everything_from_the_model_or_a_default() -> None:
    spec = resolve("", signature_of(NCHW))

    assert (spec.task, spec.input_name, spec.has_dynamic_batch) == ("classification", "input", True)
    assert (spec.output.name, spec.output.activation, spec.output.top_k) == ("output", "softmax", 5)
    assert spec.detection is None
    image = image_of(spec)
    assert (image.width, image.height, image.channels, image.layout) == (192, 224, 3, "NCHW")
    assert (image.color, image.resize, image.resize_to, image.interpolation) == (
        "RGB",
        "shorter-side",
        None,
        "bilinear",
    )
    assert (image.gain, image.bias) == ((1 / 255,) * 3, (0,) * 3)


@pytest.mark.parametrize(
    ("shape", "layout", "color"),
    [
        ((None, 3, 8, 8), "NCHW", "RGB"),
        ((1, 1, 8, 8), "NCHW", "L"),
        ((None, 8, 8, 3), "NHWC", "RGB"),
        ((1, 8, 8, 1), "NHWC", "L"),
        ((None, 3, 8, 3), "NCHW", "RGB"),
    ],
)
def test_layout_and_color_come_from_the_shape(shape: Sequence[int | None], layout: str, color: str) -> None:
    image = image_of(resolve("", signature_of(shape)))

    assert (image.layout, image.color) == (layout, color)
    assert (image.width, image.height) == ((8, 8) if shape != (None, 3, 8, 3) else (3, 8))


def test_dynamic_sides_and_channels_come_from_the_declaration() -> None:
    toml = "[input]\nsize = [320, 240]\nlayout = 'NHWC'\ncolor = 'BGR'"
    image = image_of(resolve(toml, signature_of((None, None, None, None))))

    assert (image.width, image.height, image.channels, image.layout) == (320, 240, 3, "NHWC")


def test_normalisation_is_folded_into_gain_and_bias() -> None:
    image = image_of(resolve("[input]\nscale = 0.5\nmean = [1, 2, 4]\nstd = [2, 4, 8]", signature_of(NCHW)))

    assert image.gain == (0.25, 0.125, 0.0625)
    assert image.bias == (-0.5, -0.5, -0.5)


def test_one_mean_and_deviation_serve_every_channel() -> None:
    image = image_of(resolve("[input]\nscale = 1\nmean = [127]\nstd = [128]", signature_of(NCHW)))

    assert image.gain == (1 / 128,) * 3
    assert image.bias == (-127 / 128,) * 3


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_dtype_comes_from_the_model(dtype: str) -> None:
    image = image_of(resolve("", signature_of(NCHW, dtype=dtype)))

    assert image.dtype == dtype
    assert image.gain == ((1,) * 3 if dtype == "uint8" else (1 / 255,) * 3)


@pytest.mark.parametrize(
    ("toml", "signature", "task"),
    [
        ("", signature_of((None, 1), dtype="string"), "text"),
        ("", signature_of((None, 4)), "tensor"),
        ("", signature_of(NCHW, outputs=[SCORES, TensorInfo("boxes", "float32", (None, 4))]), "tensor"),
        ("", Signature((SCORES, SCORES), (SCORES,)), "tensor"),
        ("[detection]\ndecoder = 'yolox'", signature_of(NCHW), "detection"),
        ("task = 'tensor'", signature_of(NCHW), "tensor"),
    ],
)
def test_task_is_told_by_the_declaration_or_else_by_the_signature(toml: str, signature: Signature, task: str) -> None:
    assert resolve(toml, signature).task == task


def test_detection_has_defaults_and_keeps_the_whole_image() -> None:
    spec = resolve("[detection]\ndecoder = 'yolov8'\niou_threshold = 0.0", signature_of(NCHW))

    assert spec.detection is not None
    assert (spec.detection.score_threshold, spec.detection.iou_threshold) == (0.35, 0.0)
    assert (spec.detection.max_detections, spec.output.activation) == (100, "none")
    assert image_of(spec).resize == "letterbox"


def test_label_of_a_class_is_its_index_where_there_are_no_labels() -> None:
    labelled = resolve("", signature_of(NCHW), [f"label {i}" for i in range(10)])

    assert labelled.output.label(3) == "label 3"
    assert resolve("", signature_of(NCHW)).output.label(3) == "3"


@pytest.mark.parametrize("shape", [(None, 10), (1, 10, 1, 1), (10,), (None, None), (), (None, 2, 5)])
def test_labels_are_counted_only_where_the_shape_tells_the_number_of_classes(shape: tuple[int | None, ...]) -> None:
    signature = signature_of(NCHW, outputs=[TensorInfo("output", "float32", shape)])

    assert len(resolve("", signature, ["label"] * 10).output.labels) == 10


@pytest.mark.parametrize(
    ("toml", "signature", "key"),
    [
        ("[input]\nname = 'data'", signature_of(NCHW), r"input\.name: the model's input is input"),
        ("[input]\nsize = [224, 192]", signature_of(NCHW), r"input\.size: the model takes 192 x 224"),
        ("", signature_of((None, 3, None, 8)), r"input\.size: it must be given"),
        ("", signature_of((None, 4, 8, 8)), r"input\.layout: it must be given"),
        ("", signature_of((None, None, 8, None)), r"input\.layout: it must be given"),
        ("[input]\ncolor = 'L'", signature_of(NCHW), r"input\.color: L has 1 channels, the model takes 3"),
        (
            "[input]\nlayout = 'NHWC'",
            signature_of((None, 3, 8, 8)),
            r"input\.layout: RGB has 3 channels, the model takes 8 in NHWC",
        ),
        ("[input]\nmean = [1, 2]", signature_of(NCHW), r"input\.mean: it has 2 values for 3 channels"),
        ("[input]\nstd = [1, 2]", signature_of(NCHW), r"input\.std: it has 2 values for 3 channels"),
        ("[input]\nscale = 1", signature_of(NCHW, dtype="uint8"), r"input\.scale: a uint8 model takes pixels"),
        ("[input]\nmean = [1]", signature_of(NCHW, dtype="uint8"), r"input\.mean: a uint8 model takes pixels"),
        ("[input]\nstd = [1]", signature_of(NCHW, dtype="uint8"), r"input\.std: a uint8 model takes pixels"),
        ("[input]\nname = 'data'", signature_of((None, 10)), r"input\.name: the model's input is input"),
        ("[input]\nresize_to = 223", signature_of(NCHW), r"input\.resize_to: it is smaller than the crop"),
        ("[input]\nresize_to = 256\nresize = 'stretch'", signature_of(NCHW), r"input\.resize_to: it has no meaning"),
        ("task = 'classification'", signature_of((None, 10)), "task: a classification model takes four dimensions"),
        ("task = 'classification'", signature_of(NCHW, dtype="int64"), "task: a classification model takes float32"),
        ("task = 'classification'", signature_of((4, 3, 8, 8)), "task: input input takes 4 images a run"),
        ("task = 'classification'", Signature((SCORES, SCORES), (SCORES,)), "task: only a tensor model has several"),
        (
            "",
            Signature((TensorInfo("list", "seq(tensor(float))", ()),), (SCORES,)),
            r"task: a tensor model takes tensors that requests can hold, list is seq\(tensor\(float\)\)",
        ),
        (
            "",
            signature_of((None, 10), outputs=[TensorInfo("list", "seq(tensor(float))", ())]),
            r"task: a tensor model gives tensors that replies can hold, list is seq\(tensor\(float\)\)",
        ),
        ("task = 'text'", signature_of(NCHW), "task: a text model takes strings"),
        ("[output]\nname = 'logits'", signature_of(NCHW), r"output\.name: the model's outputs are output"),
        (
            "task = 'classification'",
            signature_of(NCHW, outputs=[SCORES, TensorInfo("features", "float32", (None, 99))]),
            r"output\.name: it must be given, as the model has the outputs output, features",
        ),
        ("[detection]", signature_of(NCHW), r"detection\.decoder: a detection model must name"),
        (
            "task = 'classification'\n[detection]\ndecoder = 'ssd'",
            signature_of(NCHW),
            "detection: the table has no meaning",
        ),
        ("[execution]\nmax_batch = 2", signature_of((1, 3, 8, 8)), r"execution\.max_batch: the model takes one item"),
    ],
)
def test_contradiction_between_declaration_and_model_is_refused(toml: str, signature: Signature, key: str) -> None:
    with pytest.raises(ModelUnavailable, match=rf"^model\.toml: {key}"):
        resolve(toml, signature)


@pytest.mark.parametrize("shape", [(None, 10), (1, 10, 1, 1)])
def test_wrong_number_of_labels_is_refused(shape: tuple[int | None, ...]) -> None:
    signature = signature_of(NCHW, outputs=[TensorInfo("output", "float32", shape)])

    with pytest.raises(ModelUnavailable, match=r"output\.labels: 9 labels for 10 classes"):
        resolve("", signature, ["label"] * 9)
