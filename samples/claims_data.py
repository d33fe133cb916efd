"""Insurance claims in their claimants' words, auto or home, and their split into training and held-out claims.

They were written for this project, one a line in `samples/texts`; none is a template of another. It refuses to know of
a model: `samples.train_claims` trains one on what this gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sklearn.model_selection import train_test_split

FOLDER = Path(__file__).parent / "texts"
#: In the order of scikit-learn, which sorts its classes.
LABELS = ("auto", "home")
SPLIT_SEED = 20
HELD_OUT_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Claims:
    """Texts and what each of them is about."""

    texts: list[str]
    labels: list[str]


def load_claims() -> tuple[Claims, Claims]:
    """Return the training and the held-out claims, the same share of each label."""
    lines = [(line, label) for label in LABELS for line in _lines(label)]
    labels = [label for _, label in lines]
    training, held_out = train_test_split(lines, test_size=HELD_OUT_SHARE, random_state=SPLIT_SEED, stratify=labels)
    return _claims(training), _claims(held_out)


def _lines(label: str) -> list[str]:
    return (FOLDER / f"{label}.txt").read_text(encoding="utf-8").splitlines()


def _claims(lines: list[tuple[str, str]]) -> Claims:
    return Claims([text for text, _ in lines], [label for _, label in lines])
