"""A model session: a verified model version, loaded into onnxruntime, with its spec.

It refuses a version whose files are not exactly those of its manifest, and never says where on the disk anything lies.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from inference.errors import DeadlineExceeded, InferenceError, InferenceFailed, ModelUnavailable
from inference.models.declaration import DECLARATION_NAME, Declaration, parse_declaration
from inference.models.golden import check_golden
from inference.models.manifest import (
    MANIFEST_NAME,
    MODEL_NAME,
    SCRIPT_NAME,
    Manifest,
    check_sizes,
    parse_manifest,
    read_listed_file,
    read_manifest_bytes,
    verify_files,
    verify_unchanged,
)
from inference.models.postprocess import check_outputs
from inference.models.signature import Signature, TensorInfo, read_signature
from inference.models.spec import ModelSpec, resolve_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inference.models.repository import ModelVersion

DEFAULT_LABELS_NAME = "labels.txt"
MAX_DECLARATION_BYTES = 1 << 20
MAX_LABELS_BYTES = 16 << 20

#: A first run allocates and may be many times slower than later ones, but one that takes this long never ends.
WARM_TIMEOUT_SECONDS = 60.0

_LOG_SEVERITY_FATAL = 4
_CODE_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_ABSOLUTE_PATH = re.compile(r"(?<![\w.])/(?:[^\s/:'\"]+/)+")
_MAX_REASON_CHARACTERS = 300


class ModelSession:
    """A loaded model. `run` may be called by several threads at once."""

    def __init__(self, version: ModelVersion, manifest: Manifest, spec: ModelSpec, session: Any) -> None:
        self.version = version
        self.spec = spec
        self.signature: Signature = _signature(session)
        #: The sha256 of model.onnx; of the manifest, where a version has none.
        self.sha256 = manifest.files[MODEL_NAME].sha256 if MODEL_NAME in manifest.files else version.manifest_sha256
        #: The size of the version's files.
        self.bytes = manifest.total_bytes
        self._session = session
        # The graph's other outputs are then not even computed.
        self._output_names = [*spec.output_names] or [output.name for output in self.signature.outputs]

    def run(self, tensor: NDArray[Any], *, run_options: Any = None) -> dict[str, NDArray[Any]]:
        """Return the outputs by name for one tensor into the model's only input. Errors: see `run_tensors`."""
        if self.spec.input_name is None:
            raise InferenceFailed("The model has several inputs.")
        return self.run_tensors({self.spec.input_name: tensor}, run_options=run_options)

    def run_tensors(
        self, tensors: Mapping[str, NDArray[Any]], *, run_options: Any = None, output_names: Sequence[str] = ()
    ) -> dict[str, NDArray[Any]]:
        """Return the outputs by name: those named, or those that the task reads.

        `run_options` is an `onnxruntime.RunOptions`; who sets its `terminate` ends the run. Raises DeadlineExceeded for
        a run that was ended so, InferenceFailed for one that failed.
        """
        names = output_names or self._output_names
        try:
            outputs = self._session.run(names, dict(tensors), run_options)
        except Exception as exc:  # onnxruntime's errors have no common base
            if run_options is not None and run_options.terminate:
                raise DeadlineExceeded("The model's run took longer than its deadline.") from exc
            raise InferenceFailed(f"The model's run failed: {_reason(exc, self.version)}") from exc
        return dict(zip(names, outputs, strict=True))

    def warm(self, *, timeout_seconds: float = WARM_TIMEOUT_SECONDS) -> None:
        """Run once on zeros, so that the first request does not pay for it, and check the shape of what comes out.

        Raises ModelUnavailable when the model cannot run, does not end or gives other outputs than its task needs.
        """
        tensors = _zeros(self.signature, self.spec)
        if tensors is None:
            return
        try:
            check_outputs(self.run_bounded(tensors, timeout_seconds=timeout_seconds), self.spec)
        except InferenceError as exc:
            raise ModelUnavailable(f"{self.version}: warm-up: {exc.message}") from exc

    def run_bounded(
        self, tensors: Mapping[str, NDArray[Any]], *, timeout_seconds: float = WARM_TIMEOUT_SECONDS
    ) -> dict[str, NDArray[Any]]:
        """Return the outputs by name; a run that takes longer is ended. Errors: see `run_tensors`."""
        run_options = onnxruntime.RunOptions()
        timer = threading.Timer(timeout_seconds, setattr, (run_options, "terminate", True))
        timer.daemon = True
        timer.start()
        try:
            return self.run_tensors(tensors, run_options=run_options)
        finally:
            timer.cancel()


def load_ready_session(version: ModelVersion, *, score_scripts: bool = False) -> ModelSession:
    """Load a version, warm it and hold it to its golden files: what is returned may serve. Raises ModelUnavailable."""
    session = load_session(version, score_scripts=score_scripts)
    session.warm()
    with _naming(version):
        manifest = read_version_manifest(version)
    check_golden(session, manifest)
    return session


def read_version_manifest(version: ModelVersion) -> Manifest:
    """Return the manifest that the version was looked up with. Raises ModelUnavailable when it is another one now."""
    data = read_manifest_bytes(version.path)
    if hashlib.sha256(data).hexdigest() != version.manifest_sha256:
        raise ModelUnavailable(f"{MANIFEST_NAME}: it changed since the version was looked up.")
    manifest = parse_manifest(data)
    check_sizes(manifest)
    return manifest


def read_model_signature(version: ModelVersion) -> Signature:
    """Return what a version's graph declares, its manifest or none aside. Raises ModelUnavailable."""
    with _naming(version):
        return _signature(_create_session(version, 1, spinning=False))


def load_session(
    version: ModelVersion, *, threads: int | None = None, spinning: bool = False, score_scripts: bool = False
) -> ModelSession:
    """Verify a version against its manifest and load it on the CPU.

    `threads` is how many cores one run uses (default: as `model.toml` says, else 1); `spinning` lets idle threads burn
    CPU to wake up faster; `score_scripts` allows a version to be served by its own code. Raises ModelUnavailable with
    the file and the reason.
    """
    with _naming(version):
        manifest = read_version_manifest(version)
        stamps = version.stamps or verify_files(version.path, manifest)
        declared, labels = _read_declaration(version, manifest)
        if SCRIPT_NAME in manifest.files:
            script = _load_script(version, manifest, declared, labels, is_allowed=score_scripts)
            verify_unchanged(version.path, stamps)
            return script
        session = _create_session(version, threads or declared.execution.threads or 1, spinning=spinning)
        verify_unchanged(version.path, stamps)
        spec = resolve_spec(declared, _signature(session), labels)
        return ModelSession(version, manifest, spec, session)


def _read_declaration(version: ModelVersion, manifest: Manifest) -> tuple[Declaration, tuple[str, ...]]:
    declared = Declaration()
    if DECLARATION_NAME in manifest.files:
        data = read_listed_file(version.path, manifest, DECLARATION_NAME, max_bytes=MAX_DECLARATION_BYTES)
        declared = parse_declaration(data)
    name = declared.output.labels or (DEFAULT_LABELS_NAME if DEFAULT_LABELS_NAME in manifest.files else None)
    if name is None:
        return declared, ()
    return declared, _parse_labels(name, read_listed_file(version.path, manifest, name, max_bytes=MAX_LABELS_BYTES))


def _load_script(
    version: ModelVersion, manifest: Manifest, declared: Declaration, labels: tuple[str, ...], *, is_allowed: bool
) -> ModelSession:
    if not is_allowed:
        raise ModelUnavailable(f"{SCRIPT_NAME}: the setting INFERENCE_SCORE_SCRIPTS does not allow models' own code.")
    from inference.models.script import load_script  # few versions have one, and it builds on this module

    return load_script(version, manifest, declared, labels)


def _parse_labels(name: str, data: bytes) -> tuple[str, ...]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ModelUnavailable(f"{name}: it is not UTF-8.") from exc
    labels = tuple(line.strip() for line in text.rstrip().split("\n"))
    if "" in labels:
        raise ModelUnavailable(f"{name}: line {labels.index('') + 1} is empty.")
    return labels


def _create_session(version: ModelVersion, threads: int, *, spinning: bool) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    # What goes wrong comes back as an exception; on stderr it would say where the files lie.
    options.log_severity_level = _LOG_SEVERITY_FATAL
    try:
        return onnxruntime.InferenceSession(version.path / MODEL_NAME, options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # onnxruntime's errors have no common base
        raise ModelUnavailable(f"{MODEL_NAME}: onnxruntime refuses it: {_reason(exc, version)}") from exc


def _signature(session: Any) -> Signature:
    return read_signature(session.get_inputs(), session.get_outputs())


def _zeros(signature: Signature, spec: ModelSpec) -> dict[str, NDArray[Any]] | None:
    """Return an input of zeros or empty strings; None where only a real request can tell a size or a text that fits."""
    if spec.image is not None and spec.input_name is not None:
        size = (spec.image.height, spec.image.width)
        shape = (1, spec.image.channels, *size) if spec.image.layout == "NCHW" else (1, *size, spec.image.channels)
        return {spec.input_name: np.zeros(shape, spec.image.dtype)}
    if any(None in tensor.shape[1:] or "(" in tensor.dtype for tensor in signature.inputs):
        return None
    if spec.task == "tensor" and any(tensor.dtype == "string" for tensor in signature.inputs):
        return None  # strings of a tensor model may be numbers or dates, which an empty one is not
    return {tensor.name: _zero(tensor) for tensor in signature.inputs}


def _zero(tensor: TensorInfo) -> NDArray[Any]:
    shape = tuple(1 if size is None else size for size in tensor.shape)
    return np.full(shape, "", object) if tensor.dtype == "string" else np.zeros(shape, tensor.dtype)


def _reason(exc: Exception, version: ModelVersion) -> str:
    """Return what onnxruntime says, without its prefix and without any folder's name."""
    message = _CODE_PREFIX.sub("", str(exc)).replace(f"{version.path}/", "")
    return _ABSOLUTE_PATH.sub("", message).strip()[:_MAX_REASON_CHARACTERS]


@contextmanager
def _naming(version: ModelVersion) -> Iterator[None]:
    try:
        yield
    except ModelUnavailable as exc:
        raise ModelUnavailable(f"{version}: {exc.message}") from exc
