"""The sample model of texts: what its files promise, and that its graph answers as scikit-learn does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from sklearn.pipeline import Pipeline

from inference.models.loading import load_session
from inference.models.manifest import compute_manifest, parse_manifest, read_manifest_bytes
from inference.models.postprocess import postprocess
from inference.models.repository import ModelRepository
from inference.models.session import ModelSession
from inference.models.tasks.text import encode_text
from samples.claims_data import LABELS, load_claims
from samples.train_claims import REQUIRED_ACCURACY, TOLERANCE, export_onnx, score, train_pipeline

SAMPLES = Path(__file__).parents[2] / "samples"
TEXTS = sorted((SAMPLES / "texts" / "claims").iterdir())

#: Texts that the corpus has nothing like: where a tokenizer goes its own way, it does so on these.
ODD_TEXTS = [
    "",
    "   ",
    "\n\t",
    "a",
    "I",
    "CAR ROOF",
    'car-roof\'s, "car"; (roof)!',
    "the the the the",
    "Ünïcödé rôôf 屋根 🚗",
    "x" * 10_000,
    "car\x00roof",
    "snake_case_roof 4x4 1234",
    "a roof a car a pipe",
]


@pytest.fixture(scope="module")
def session() -> ModelSession:
    session = load_session(ModelRepository(SAMPLES / "models").resolve("claims"))
    session.warm()
    return session


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return train_pipeline(load_claims()[0])


def test_held_out_accuracy_is_what_the_training_script_states(session: ModelSession) -> None:
    _, held_out = load_claims()
    best = np.array(LABELS)[score(session, held_out.texts).argmax(axis=1)]

    assert len(held_out.texts) == 60
    assert (best == held_out.labels).mean() >= REQUIRED_ACCURACY


def test_held_out_claims_are_no_training_claims() -> None:
    training, held_out = load_claims()

    assert len({*training.texts, *held_out.texts}) == 240
    assert held_out.labels.count("auto") == held_out.labels.count("home") == 30


def test_scores_are_the_probabilities_of_scikit_learn(session: ModelSession, pipeline: Pipeline) -> None:
    training, held_out = load_claims()
    texts = [*training.texts, *held_out.texts, *ODD_TEXTS]

    assert np.abs(score(session, texts) - pipeline.predict_proba(texts)).max() < TOLERANCE


def test_training_again_gives_the_committed_model(pipeline: Pipeline) -> None:
    committed = onnx.load(SAMPLES / "models" / "claims" / "1" / "model.onnx")
    again = onnx.load_from_string(export_onnx(pipeline))

    # Weights may differ in their last digits on another processor; everything else may not.
    assert [node.op_type for node in again.graph.node] == [node.op_type for node in committed.graph.node]
    assert again.opset_import == committed.opset_import
    assert again.graph.input == committed.graph.input


def test_graph_needs_no_locale_that_a_container_may_lack() -> None:
    model = onnx.load(SAMPLES / "models" / "claims" / "1" / "model.onnx")
    onnx.checker.check_model(model)
    locales = [attribute.s for node in model.graph.node for attribute in node.attribute if attribute.name == "locale"]

    assert locales == [b"C"]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_sample_text_is_read_as_its_name_says(session: ModelSession, path: Path) -> None:
    predictions = postprocess(session.run(encode_text(path.read_text(), session.spec)), session.spec)

    assert predictions[0]["label"] == path.name.split("-")[0]
    assert sum(prediction["score"] for prediction in predictions) == pytest.approx(1)


def test_sample_texts_are_held_out_claims() -> None:
    _, held_out = load_claims()

    assert [path.name for path in TEXTS] == ["auto-a.txt", "auto-b.txt", "home-a.txt", "home-b.txt"]
    assert {path.read_text().strip() for path in TEXTS} <= {*held_out.texts}


def test_committed_manifest_is_that_of_the_committed_files() -> None:
    version = SAMPLES / "models" / "claims" / "1"

    assert parse_manifest(read_manifest_bytes(version)) == compute_manifest(version)
    assert sorted(compute_manifest(version).files) == ["labels.txt", "model.onnx", "model.toml"]


def test_any_number_of_texts_run_at_once_and_rows_do_not_mix(session: ModelSession) -> None:
    texts = load_claims()[1].texts[:8]
    batched = session.run(np.array(texts, object)[:, np.newaxis])["probabilities"]

    assert session.spec.has_dynamic_batch
    for row, text in zip(batched, texts, strict=True):
        assert np.allclose(row, session.run(encode_text(text, session.spec))["probabilities"][0], atol=1e-6)
