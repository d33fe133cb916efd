"""Texts: what goes into the graph, and labels from each form that exported classifiers give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from inference.errors import InferenceFailed, InvalidRequest, InvalidText, ModelUnavailable
from inference.models.declaration import parse_declaration
from inference.models.postprocess import check_outputs, postprocess
from inference.models.signature import Signature, TensorInfo
from inference.models.spec import ModelSpec, resolve_spec
from inference.models.tasks.text import MAX_TEXT_BYTES, decode_text, encode_text
from tests.unit.models.published import signature_of

LABEL = TensorInfo("label", "string", (None,))
SCORES = TensorInfo("probabilities", "float32", (None, 2))
MAPS = TensorInfo("output_probability", "seq(map(string,tensor(float)))", ())


def spec_of(
    *outputs: TensorInfo, labels: Sequence[str] = (), shape: Sequence[int | None] = (None, 1), toml: str = ""
) -> ModelSpec:
    signature = signature_of(shape, dtype="string", outputs=outputs or (LABEL, SCORES))
    return resolve_spec(parse_declaration(toml.encode()), signature, tuple(labels))


def probabilities(*values: float, label: Any = "home") -> dict[str, Any]:
    return {"label": np.array([label], object), "probabilities": np.array([values], np.float32)}


def test_utf8_is_read_with_or_without_a_byte_order_mark() -> None:
    assert decode_text("Bâche 屋根".encode()) == decode_text("\ufeffBâche 屋根".encode()) == "Bâche 屋根"


@pytest.mark.parametrize(
    ("data", "reason"), [(b"\xff\xfe", "UTF-8"), (b"x" * (MAX_TEXT_BYTES + 1), "more than"), (b"\xed\xa0\x80", "UTF-8")]
)
def test_bytes_that_are_no_text_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidText, match=reason):
        decode_text(data)


@pytest.mark.parametrize(
    ("shape", "encoded"), [((None, 1), (1, 1)), ((None,), (1,)), ((1, 1), (1, 1)), ((None, None), (1, 1)), ((), ())]
)
def test_one_text_fills_the_models_tensor(shape: Sequence[int | None], encoded: tuple[int, ...]) -> None:
    tensor = encode_text("a", spec_of(shape=shape))

    assert (tensor.shape, tensor.dtype, tensor.reshape(-1).tolist()) == (encoded, np.dtype(object), ["a"])


def test_model_of_images_takes_no_text() -> None:
    with pytest.raises(InvalidRequest, match="A classification model takes no text"):
        encode_text("a", resolve_spec(parse_declaration(b""), signature_of((None, 3, 8, 8))))


def test_model_that_takes_several_texts_an_item_is_refused() -> None:
    with pytest.raises(ModelUnavailable, match="a text model takes one string an item"):
        spec_of(shape=(None, 2))


def test_labels_of_the_file_name_the_probabilities() -> None:
    spec = spec_of(labels=("auto", "home"))

    assert postprocess(probabilities(0.25, 0.75), spec) == [
        {"label": "home", "score": 0.75},
        {"label": "auto", "score": 0.25},
    ]
    assert postprocess(probabilities(0.25, 0.75), spec, min_score=0.5, top_k=2) == [{"label": "home", "score": 0.75}]
    assert spec.output_names == ("label", "probabilities")


def test_without_a_file_the_model_itself_names_the_best() -> None:
    assert postprocess(probabilities(0.25, 0.75), spec_of()) == [{"label": "home", "score": 0.75}]
    assert postprocess(probabilities(0.25, 0.75), spec_of(), min_score=0.8) == []


def test_numbers_of_classes_are_labels_too() -> None:
    spec = spec_of(TensorInfo("label", "int64", (None,)), SCORES)

    assert postprocess({**probabilities(0.25, 0.75), "label": np.array([7])}, spec) == [{"label": "7", "score": 0.75}]


def test_without_any_labels_there_are_indices() -> None:
    assert postprocess({"probabilities": np.array([[0.25, 0.75]])}, spec_of(SCORES), top_k=1) == [
        {"label": "1", "score": 0.75}
    ]


def test_maps_of_zipmap_are_read_as_they_are() -> None:
    spec = spec_of(LABEL, MAPS)
    outputs: dict[str, Any] = {"label": np.array(["home"]), "output_probability": [{"auto": 0.25, "home": 0.75}]}

    check_outputs(outputs, spec)
    assert postprocess(outputs, spec) == [{"label": "home", "score": 0.75}, {"label": "auto", "score": 0.25}]


def test_labels_of_the_file_name_the_classes_of_zipmap_too() -> None:
    spec = spec_of(LABEL, MAPS, labels=("motor", "household"))
    outputs: dict[str, Any] = {"label": np.array([1]), "output_probability": [{0: 0.25, 1: 0.75}]}

    check_outputs(outputs, spec)
    assert postprocess(outputs, spec) == [{"label": "household", "score": 0.75}, {"label": "motor", "score": 0.25}]


def test_keys_of_zipmap_stand_though_the_file_lists_them_in_another_order() -> None:
    spec = spec_of(LABEL, MAPS, labels=("home", "auto"))
    outputs: dict[str, Any] = {"label": np.array(["home"]), "output_probability": [{"auto": 0.25, "home": 0.75}]}

    assert postprocess(outputs, spec)[0] == {"label": "home", "score": 0.75}


def test_activation_makes_probabilities_of_decision_values() -> None:
    spec = spec_of(toml="[output]\nactivation = 'softmax'", labels=("auto", "home"))

    assert postprocess(probabilities(0, np.log(3)), spec)[0]["score"] == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("outputs", "spec"),
    [
        ({}, spec_of(labels=("auto", "home"))),
        (probabilities(0.1, 0.2, 0.7), spec_of(labels=("auto", "home"))),
        ({"probabilities": np.array(["a"])}, spec_of(SCORES)),
        ({"output_probability": []}, spec_of(LABEL, MAPS)),
        ({"output_probability": [{}]}, spec_of(LABEL, MAPS)),
        ({"output_probability": [{"a": 1}, {"a": 1}]}, spec_of(LABEL, MAPS)),
        ({"output_probability": [{0: 0.2, 1: 0.3, 2: 0.5}]}, spec_of(LABEL, MAPS, labels=("auto", "home"))),
    ],
)
def test_outputs_of_another_shape_are_a_failure_of_the_model(outputs: dict[str, Any], spec: ModelSpec) -> None:
    for call in (postprocess, check_outputs):
        with pytest.raises(InferenceFailed):
            call(outputs, spec)


@pytest.mark.parametrize(
    ("outputs", "spec"),
    [
        (probabilities(np.nan, 0.5), spec_of()),
        ({"output_probability": [{"a": np.nan}]}, spec_of(LABEL, MAPS)),
        ({**probabilities(0.2, 0.5), "label": np.array(["a", "b"])}, spec_of()),
        ({"probabilities": np.array([[0.5, 0.5]])}, spec_of()),
    ],
)
def test_values_that_mean_nothing_never_leave(outputs: dict[str, Any], spec: ModelSpec) -> None:
    with pytest.raises(InferenceFailed):
        postprocess(outputs, spec)


def test_model_without_scores_has_no_predictions() -> None:
    spec = spec_of(TensorInfo("same", "string", (None, 1)))

    check_outputs({"same": np.array([["a"]])}, spec)
    with pytest.raises(InvalidRequest, match="Open Inference Protocol"):
        postprocess({"same": np.array([["a"]])}, spec)
    assert spec.output_names == ()


def test_two_outputs_of_scores_need_a_name() -> None:
    more = TensorInfo("decision", "float32", (None, 2))

    with pytest.raises(ModelUnavailable, match=r"output\.name: it must be given"):
        spec_of(LABEL, SCORES, more)
    assert spec_of(LABEL, SCORES, more, toml="[output]\nname = 'decision'").output.name == "decision"


def test_wrong_number_of_labels_is_refused() -> None:
    with pytest.raises(ModelUnavailable, match=r"output\.labels: 3 labels for 2 classes"):
        spec_of(labels=("a", "b", "c"))


def test_declared_text_model_must_take_strings() -> None:
    signature = Signature((TensorInfo("input", "int64", (None, 5)),), (SCORES,))

    with pytest.raises(ModelUnavailable, match="a text model takes strings, input input takes int64"):
        resolve_spec(parse_declaration(b"task = 'text'"), signature)
