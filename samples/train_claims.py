"""Train `samples/models/claims/1` and write the whole model version and its sample texts.

    python -m samples.train_claims

It refuses to publish a model that misses its accuracy on claims it has never seen, measured the way the service scores:
text → onnxruntime → postprocess; or one that answers other than scikit-learn does.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skl2onnx import to_onnx
from skl2onnx.common.data_types import StringTensorType
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from inference.models.loading import load_session
from inference.models.manifest import MODEL_NAME, write_manifest
from inference.models.postprocess import postprocess
from inference.models.repository import ModelRepository
from inference.models.session import ModelSession
from inference.models.tasks.text import encode_text
from samples.claims_data import LABELS, Claims, load_claims

REQUIRED_ACCURACY = 0.9
#: Between scikit-learn's float64 and the graph's float32.
TOLERANCE = 1e-5
OPSETS = {"": 17, "ai.onnx.ml": 1, "com.microsoft": 1}
SAMPLES_PER_LABEL = 2

FOLDER = Path(__file__).parent

DECLARATION = """\
# What an insurance claim is about, from its text. Made by samples/train_claims.py.
task = "text"

[input]
name = "text"

[output]
name = "probabilities"
labels = "labels.txt"
top_k = 2
"""


def main() -> None:
    """Train, measure, publish."""
    training, held_out = load_claims()
    pipeline = train_pipeline(training)
    with tempfile.TemporaryDirectory() as scratch:
        _write_version(Path(scratch), pipeline)
        session = load_session(ModelRepository(Path(scratch)).resolve("claims"))
        session.warm()
        probabilities = score(session, held_out.texts)
    difference = np.abs(probabilities - pipeline.predict_proba(held_out.texts)).max()
    print(f"largest difference from scikit-learn: {difference:.1e}")
    is_right = np.array(LABELS)[probabilities.argmax(axis=1)] == held_out.labels
    print(f"held-out accuracy: {is_right.mean():.4f} ({is_right.sum()} of {len(is_right)})")
    if is_right.mean() < REQUIRED_ACCURACY or difference > TOLERANCE:
        raise SystemExit(f"the accuracy is below {REQUIRED_ACCURACY} or the difference above {TOLERANCE}")
    _write_version(FOLDER / "models", pipeline)
    _write_texts(held_out, is_right)


def train_pipeline(claims: Claims) -> Pipeline:
    """Return a fitted pipeline: weights of words and of pairs of words, then logistic regression."""
    # The pattern is plain ASCII, as the tokenizer of onnxruntime reads it; with scikit-learn's own, which drops words
    # of one letter, the graph would pair other words.
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), token_pattern="[a-zA-Z0-9_]+")  # noqa: S106
    return Pipeline([("words", vectorizer), ("classes", LogisticRegression(C=10))]).fit(claims.texts, claims.labels)


def export_onnx(pipeline: Pipeline) -> bytes:
    """Return the pipeline as a graph: text [n, 1] → label [n], probabilities [n, 2]."""
    model = to_onnx(
        pipeline,
        name="claims",
        initial_types=[("text", StringTensorType([None, 1]))],
        target_opset=OPSETS,
        options={
            # Plain tensors out, not a map for each text.
            id(pipeline.named_steps["classes"]): {"zipmap": False},
            # The converter's default, en_US.UTF-8, is missing from most container images: the graph would not load.
            id(pipeline.named_steps["words"]): {"locale": "C"},
        },
    )
    # The converter keeps them in a set: sorted, the same pipeline is the same file.
    imports = sorted(model.opset_import, key=lambda opset: str(opset.domain))
    del model.opset_import[:]
    model.opset_import.extend(imports)
    return bytes(model.SerializeToString(deterministic=True))


def score(session: ModelSession, texts: list[str]) -> NDArray[np.float64]:
    """Return what the service would answer for each text: a row of scores in the order of LABELS."""
    rows = []
    for text in texts:
        predictions = postprocess(session.run(encode_text(text, session.spec)), session.spec)
        scores = {prediction["label"]: prediction["score"] for prediction in predictions}
        rows.append([scores[label] for label in LABELS])
    return np.array(rows)


def _write_version(repository: Path, pipeline: Pipeline) -> None:
    folder = repository / "claims" / "1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_NAME).write_bytes(export_onnx(pipeline))
    (folder / "model.toml").write_text(DECLARATION, encoding="utf-8")
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    write_manifest(folder)


def _write_texts(held_out: Claims, is_right: NDArray[np.bool_]) -> None:
    """Write the first held-out claims of each label that the model gets right, one a file."""
    folder = FOLDER / "texts" / "claims"
    folder.mkdir(parents=True, exist_ok=True)
    right = [
        claim for claim, fits in zip(zip(held_out.texts, held_out.labels, strict=True), is_right, strict=True) if fits
    ]
    for label in LABELS:
        texts = [text for text, labelled in right if labelled == label][:SAMPLES_PER_LABEL]
        for letter, text in zip("ab", texts, strict=True):
            (folder / f"{label}-{letter}.txt").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
