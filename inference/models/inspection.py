"""Inspecting a version: every step of a load, one after the other, up to the first that fails and why.

It refuses to publish or to change anything, but for the file it is asked to score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct, field
from numpy.typing import NDArray

from inference.errors import InferenceError, InvalidRequest, ModelUnavailable
from inference.models.encoded_image import prepare_image
from inference.models.golden import INPUT_NAME, check_golden
from inference.models.loading import load_session
from inference.models.manifest import SCRIPT_NAME, Manifest, verify_files
from inference.models.postprocess import postprocess
from inference.models.repository import ModelVersion
from inference.models.session import ModelSession
from inference.models.signature import TensorInfo
from inference.models.tasks.text import decode_text, encode_text
from inference.models.verification import read_version_manifest
from inference.settings import ImageSettings
from inference.telemetry import Timings


class Finding(Struct, frozen=True):
    """One step and how it went."""

    step: str
    #: What was seen, in a few words; empty when it failed.
    detail: str = ""
    #: Why it failed, in a sentence.
    problem: str | None = None


class Inspection(Struct):
    """All steps that were taken; the last one is the one that failed, if any did."""

    findings: list[Finding] = field(default_factory=list)
    session: ModelSession | None = None

    @property
    def problem(self) -> str | None:
        """Why the version cannot serve; None when it can."""
        return self.findings[-1].problem if self.findings else None


class ScoredFile(Struct, frozen=True):
    """What a model makes of one file: the tensors of its run, and its predictions."""

    inputs: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, NDArray[Any]]
    predictions: list[Mapping[str, Any]]


def inspect_version(version: ModelVersion, *, score_scripts: bool) -> Inspection:
    """Take every step that the service takes before a version serves.

    `score_scripts` allows the version's own score.py to run; a version that has one fails without, as in the service.
    """
    inspection = Inspection()

    def step(name: str, act: Callable[[], str]) -> bool:
        try:
            inspection.findings.append(Finding(name, act()))
        except InferenceError as exc:
            problem = exc.message.removeprefix(f"{version}: ").removeprefix(f"{name}: ")
            inspection.findings.append(Finding(name, problem=problem))
        return inspection.problem is None

    def load() -> str:
        if SCRIPT_NAME in manifest.files and not score_scripts:
            raise ModelUnavailable(
                f"{SCRIPT_NAME} is the version's own code, with all rights of whoever runs it. The service runs it "
                "where INFERENCE_SCORE_SCRIPTS=true, a check where that is set or with --score-scripts."
            )
        inspection.session = load_session(version, score_scripts=score_scripts)
        return _describe(inspection.session)

    def warm(session: ModelSession) -> str:
        if session.warm():
            return "one run on zeros"
        if SCRIPT_NAME in manifest.files:
            return "init() alone, run() was not called"
        return "no run: only a real request can tell what fits"

    def compare(session: ModelSession, manifest: Manifest) -> str:
        check_golden(session, manifest)
        return "as it was made" if INPUT_NAME in manifest.files else "none in this version"

    try:
        manifest = read_version_manifest(version)
    except InferenceError as exc:
        inspection.findings.append(Finding("manifest", problem=exc.message))
        return inspection
    step("manifest", lambda: f"{len(manifest.files)} files, {manifest.total_bytes} bytes")
    if step("files", lambda: f"{len(verify_files(version.path, manifest))} as the manifest says") and step(
        "load", load
    ):
        session = inspection.session
        if session is not None and step("warm-up", lambda: warm(session)):
            step("golden check", lambda: compare(session, manifest))
    return inspection


def score_file(session: ModelSession, data: bytes) -> ScoredFile:
    """Score an image, or a text, the way the service does. Raises InvalidImage and the like, InvalidRequest."""
    spec = session.spec
    frame = None
    if spec.image is not None:
        image = prepare_image(data, spec, ImageSettings(), Timings())
        tensor, frame = image.tensor, image.frame
    elif spec.task == "text":
        tensor = encode_text(decode_text(data), spec)
    else:
        raise InvalidRequest(f"A {spec.task} model takes no image and no text.")
    if spec.input_name is None:
        raise InvalidRequest("The model has several inputs.")
    inputs = {spec.input_name: tensor}
    outputs = session.run_bounded(inputs)
    return ScoredFile(inputs, outputs, [*postprocess(outputs, spec, frame=frame)])


def _describe(session: ModelSession) -> str:
    taken = ", ".join(describe_tensor(tensor) for tensor in session.signature.inputs)
    given = ", ".join(describe_tensor(tensor) for tensor in session.signature.outputs)
    if not (taken or given):
        return f"{session.spec.task}: score.py → JSON"
    return f"{session.spec.task}: {taken or 'no input'} → {given}"


def describe_tensor(tensor: TensorInfo) -> str:
    """Return a tensor as a person reads it: `input float32 N x 3 x 224 x 224`."""
    shape = " x ".join("N" if size is None else str(size) for size in tensor.shape)
    return f"{tensor.name} {tensor.dtype} {shape}".rstrip()
