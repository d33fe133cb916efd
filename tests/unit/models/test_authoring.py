"""The proposed model.toml: what it shows as a default is the model's default."""

from __future__ import annotations

import re

import pytest

from inference.models.authoring import propose_declaration
from inference.models.declaration import parse_declaration
from inference.models.signature import Signature, TensorInfo
from inference.models.spec import resolve_spec
from tests.unit.models.published import signature_of

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
        ("detection", signature_of(_IMAGE)),
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
