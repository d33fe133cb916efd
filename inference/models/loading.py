"""Loading: a version verified against its manifest, and a session made of it that may serve.

It refuses a version whose files are not exactly those of its manifest, and a session that has not run.
"""

from __future__ import annotations

from collections.abc import Sequence

from inference.engine.heap import give_back_freed_memory
from inference.errors import ModelUnavailable
from inference.models.declaration import DECLARATION_NAME, Declaration, parse_declaration
from inference.models.golden import check_golden
from inference.models.manifest import (
    SCRIPT_NAME,
    Manifest,
    read_listed_file,
    verify_unchanged,
)
from inference.models.repository import ModelVersion, naming
from inference.models.runtime import CPU, create_session
from inference.models.session import ModelSession
from inference.models.session_factory import SessionFactory, Way
from inference.models.signature import Signature, read_signature
from inference.models.spec import resolve_spec
from inference.models.verification import read_version_manifest, verified

DEFAULT_LABELS_NAME = "labels.txt"
MAX_DECLARATION_BYTES = 1 << 20
MAX_LABELS_BYTES = 16 << 20


def load_ready_session(
    version: ModelVersion, *, score_scripts: bool = False, providers: Sequence[str] = (CPU,)
) -> ModelSession:
    """Load a version, warm it and hold it to its golden files: what is returned may serve. Raises ModelUnavailable."""
    session = load_session(version, score_scripts=score_scripts, providers=providers)
    session.warm()
    with naming(version):
        manifest = read_version_manifest(version)
    check_golden(session, manifest)
    give_back_freed_memory()
    return session


def read_model_signature(version: ModelVersion) -> Signature:
    """Return what a version's graph declares, its manifest or none aside. Raises ModelUnavailable."""
    with naming(version):
        session = create_session(version, 1)
        return read_signature(session.get_inputs(), session.get_outputs())


def load_session(
    version: ModelVersion, *, score_scripts: bool = False, providers: Sequence[str] = (CPU,)
) -> ModelSession:
    """Verify a version against its manifest and load it, to run on as many cores as `model.toml` says, else on one.

    `score_scripts` allows a version to be served by its own code. Raises ModelUnavailable with the file and the reason.
    """
    version = verified(version)
    stamps = version.stamps or {}
    with naming(version):
        manifest = read_version_manifest(version)
        declared, labels = _read_declaration(version, manifest)
        if SCRIPT_NAME in manifest.files:
            script = _load_script(version, manifest, declared, labels, is_allowed=score_scripts)
            verify_unchanged(version.path, stamps)
            return script

        factory = SessionFactory(version, stamps, providers)
        threads = declared.execution.threads or 1
        session = factory.create(Way(threads))
        signature = read_signature(session.get_inputs(), session.get_outputs())
        spec = resolve_spec(declared, signature, labels)
        return ModelSession(version, manifest, spec, session, threads=threads, factory=factory)


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
    from inference.models.script import load_script  # few versions have one

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
