"""Postprocess and classification: scores become labels, and outputs that break the contract become errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.errors import InferenceFailed, InvalidRequest
from inference.models.declaration import Activation, parse_declaration
from inference.models.postprocess import check_outputs, check_parameters, postprocess
from inference.models.signature import TensorInfo
from inference.models.spec import ModelSpec, resolve_spec
from tests.unit.models.published import signature_of


def spec_of(activation: Activation, labels: tuple[str, ...] = ("ant", "bee", "cat"), top_k: int = 5) -> ModelSpec:
    toml = f"[output]\nactivation = '{activation}'\ntop_k = {top_k}"
    outputs = [TensorInfo("output", "float32", (None, None))]
    return resolve_spec(parse_declaration(toml.encode()), signature_of((None, 3, 8, 8), outputs=outputs), labels)


def outputs_of(*values: float, shape: tuple[int, ...] | None = None) -> dict[str, NDArray[Any]]:
    return {"output": np.array(values, np.float32).reshape(shape or (1, len(values)))}


def test_softmax_scores_sum_to_one_and_come_best_first() -> None:
    predictions = postprocess(outputs_of(0, np.log(3), np.log(6)), spec_of("softmax"))

    assert [prediction["label"] for prediction in predictions] == ["cat", "bee", "ant"]
    assert [prediction["score"] for prediction in predictions] == pytest.approx([0.6, 0.3, 0.1])
    assert all(type(prediction["score"]) is float for prediction in predictions)


def test_softmax_of_huge_logits_does_not_overflow() -> None:
    predictions = postprocess(outputs_of(3e38, -3e38, 0), spec_of("softmax"))

    assert [prediction["score"] for prediction in predictions] == [1, 0, 0]


def test_masked_class_scores_nothing() -> None:
    assert postprocess(outputs_of(1, -np.inf, 1), spec_of("softmax"))[-1] == {"label": "bee", "score": 0}


def test_sigmoid_scores_each_label_on_its_own() -> None:
    predictions = postprocess(outputs_of(0, 100, -1000), spec_of("sigmoid"), min_score=0.5)

    assert predictions == [{"label": "bee", "score": 1}, {"label": "ant", "score": 0.5}]


def test_without_activation_scores_are_what_the_model_says() -> None:
    predictions = postprocess(outputs_of(-2, 0.25, -1), spec_of("none"))

    assert predictions == [
        {"label": "bee", "score": 0.25},
        {"label": "cat", "score": -1},
        {"label": "ant", "score": -2},
    ]


@pytest.mark.parametrize(("asked", "models", "count"), [(None, 2, 2), (1, 2, 1), (3, 2, 3), (99, 2, 3)])
def test_top_k_is_the_callers_or_else_the_models(asked: int | None, models: int, count: int) -> None:
    assert len(postprocess(outputs_of(1, 2, 3), spec_of("softmax", top_k=models), top_k=asked)) == count


def test_min_score_can_leave_nothing() -> None:
    assert postprocess(outputs_of(1, 1, 1), spec_of("softmax"), min_score=0.9) == []


def test_equal_scores_keep_the_order_of_the_classes() -> None:
    predictions = postprocess(outputs_of(1, 1, 1), spec_of("softmax"))

    assert [prediction["label"] for prediction in predictions] == ["ant", "bee", "cat"]


@pytest.mark.parametrize("shape", [(3,), (1, 3), (1, 3, 1, 1), (1, 1, 3)])
def test_classes_may_stand_in_any_dimension(shape: tuple[int, ...]) -> None:
    assert postprocess(outputs_of(1, 2, 3, shape=shape), spec_of("none"))[0] == {"label": "cat", "score": 3}


def test_unlabelled_classes_are_called_by_their_index() -> None:
    assert postprocess(outputs_of(1, 5, 3), spec_of("none", labels=()))[0]["label"] == "1"


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({}, "not a tensor"),
    ({"output": [np.zeros(3, np.float32)]}, "not a tensor"),
    ({"output": [{"ant": 0.5, "bee": 0.25, "cat": 0.25}]}, "not a tensor"),
    ({"output": np.array([["a", "b", "c"]])}, "not a tensor"),
    (outputs_of(1, 2), "2 scores for 3 labels"),
    (outputs_of(*range(6), shape=(2, 3)), r"shape \[2, 3\]"),
    (outputs_of(shape=(1, 0)), r"shape \[1, 0\]"),
]


@pytest.mark.parametrize(("outputs", "reason"), BROKEN)
def test_output_of_another_shape_is_a_failure_of_the_model(outputs: dict[str, Any], reason: str) -> None:
    for call in (postprocess, check_outputs):
        with pytest.raises(InferenceFailed, match=reason):
            call(outputs, spec_of("softmax"))


@pytest.mark.parametrize("activation", ["none", "softmax", "sigmoid"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_not_finite_never_leave(activation: Activation, value: float) -> None:
    if (activation, value) == ("sigmoid", np.inf):
        assert postprocess(outputs_of(value, 0, 0), spec_of(activation))[0]["score"] == 1
        return
    with pytest.raises(InferenceFailed, match="finite"):
        postprocess(outputs_of(value, 0, 0), spec_of(activation))


def test_shape_check_does_not_look_at_values() -> None:
    check_outputs(outputs_of(np.nan, 0, 0), spec_of("softmax"))


def test_task_without_predictions_says_so() -> None:
    spec = resolve_spec(parse_declaration(b"task = 'tensor'"), signature_of((None, 4)))

    with pytest.raises(InvalidRequest, match="tensor"):
        postprocess(outputs_of(1, 2, 3), spec)
    check_outputs(outputs_of(1, 2, 3), spec)


@pytest.mark.parametrize("name", ["score_threshold", "iou_threshold", "max_detections"])
def test_parameter_of_another_task_is_the_callers_mistake(name: str) -> None:
    parameters: dict[str, Any] = {name: 1}

    with pytest.raises(InvalidRequest, match=f"^{name} has no meaning for a classification model\\.$"):
        postprocess(outputs_of(1, 2, 3), spec_of("softmax"), **parameters)
    assert check_parameters(spec_of("softmax"), {name: None, "top_k": 1}) == {"top_k": 1}


def test_no_parameter_means_anything_to_a_tensor_model() -> None:
    spec = resolve_spec(parse_declaration(b"task = 'tensor'"), signature_of((None, 4)))

    with pytest.raises(InvalidRequest, match="top_k has no meaning for a tensor model"):
        check_parameters(spec, {"top_k": 1})


@pytest.mark.parametrize("values", [np.zeros((1, 1), np.float32), np.zeros((), np.float32), np.zeros(1, np.int64)])
def test_softmax_of_one_number_is_refused_before_it_serves(values: NDArray[Any]) -> None:
    with pytest.raises(InferenceFailed, match="one number, of which the softmax is always 1"):
        check_outputs({"output": values}, spec_of("softmax", labels=()))


def test_one_number_serves_as_the_score_of_one_label() -> None:
    check_outputs(outputs_of(0), spec_of("sigmoid", labels=("cat",)))

    assert postprocess(outputs_of(0), spec_of("sigmoid", labels=("cat",))) == [{"label": "cat", "score": 0.5}]
