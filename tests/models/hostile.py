"""Model versions that must never serve: each a folder as an attacker, a broken upload or a tired author would make it.

Numbers in brackets name what was asked for from the beginning (M1 to M20); the other cases were met later.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from inference.models.golden import write_golden
from inference.models.manifest import MANIFEST_NAME, MODEL_NAME, write_manifest
from tests.unit.models.published import Shape, build_model, pixels_as_logits, weighted_model

type Make = Callable[[Path], None]

PLAIN: dict[str, tuple[int, Shape | None]] = {"input": (TensorProto.FLOAT, ["batch", 1, 2, 2])}
LOGITS: dict[str, tuple[int, Shape | None]] = {"logits": (TensorProto.FLOAT, ["batch", 4])}
SECRET = "canary-of-a-secret"


def _version(model: bytes, files: Mapping[str, bytes] | None = None) -> Make:
    def make(folder: Path) -> None:
        for name, content in {MODEL_NAME: model, **(files or {})}.items():
            (folder / name).write_bytes(content)
        write_manifest(folder)

    return make


def _flatten(domain: str = "", **options: Any) -> bytes:
    node = helper.make_node("Flatten", ["input"], ["logits"], domain=domain)
    return build_model([node], inputs=PLAIN, outputs=LOGITS, **options)


def _weights_link(link: Callable[[Path, Path], None]) -> Make:
    def make(folder: Path) -> None:
        secret = folder.parent.parent.parent / "secret"
        secret.write_bytes(SECRET.encode()[:16])
        _version(weighted_model("weights.bin"), {"weights.bin": secret.read_bytes()})(folder)
        (folder / "weights.bin").unlink()
        link(folder / "weights.bin", secret)

    return make


def _listing(change: Callable[[dict[str, dict[str, Any]]], None]) -> Make:
    def make(folder: Path) -> None:
        (folder / MODEL_NAME).write_bytes(pixels_as_logits())
        write_manifest(folder)
        manifest = json.loads((folder / MANIFEST_NAME).read_bytes())
        change(manifest["files"])
        (folder / MANIFEST_NAME).write_text(json.dumps(manifest))

    return make


def _declared(toml: str) -> Make:
    return _version(pixels_as_logits(), {"model.toml": toml.encode()})


def _golden(logit: float, model: bytes) -> Make:
    """A version that once answered `logit` four times to fours."""

    def make(folder: Path) -> None:
        inputs = {"input": np.full((1, 1, 2, 2), 4.0, np.float32)}
        write_golden(folder, inputs, {"logits": np.full((1, 4), logit, np.float32)})
        _version(model)(folder)

    return make


def _folder_as_model(folder: Path) -> None:
    _version(pixels_as_logits())(folder)
    (folder / MODEL_NAME).unlink()
    (folder / MODEL_NAME).mkdir()


def _pipe_as_model(folder: Path) -> None:
    _version(pixels_as_logits())(folder)
    (folder / MODEL_NAME).unlink()
    os.mkfifo(folder / MODEL_NAME)


def _unlisted(folder: Path) -> None:
    _version(pixels_as_logits())(folder)
    (folder / "extra.bin").write_bytes(b"x")


def _manifest(content: bytes) -> Make:
    def make(folder: Path) -> None:
        (folder / MODEL_NAME).write_bytes(pixels_as_logits())
        (folder / MANIFEST_NAME).write_bytes(content)

    return make


def _one_op(op: str) -> bytes:
    return build_model(
        [helper.make_node("Flatten", ["input"], ["flat"]), helper.make_node(op, ["flat"], ["logits"])],
        inputs=PLAIN,
        outputs=LOGITS,
    )


def huge_constant() -> bytes:
    """A graph of a few bytes that asks for 4 TiB."""
    return build_model(
        [
            helper.make_node("ConstantOfShape", ["shape"], ["huge"]),
            helper.make_node("ReduceMax", ["huge"], ["most"], keepdims=0),
            helper.make_node("Flatten", ["input"], ["flat"]),
            helper.make_node("Add", ["flat", "most"], ["logits"]),
        ],
        inputs=PLAIN,
        outputs=LOGITS,
        constants=[numpy_helper.from_array(np.array([1 << 40], np.int64), "shape")],
    )


_REFUSED = "onnxruntime refuses it"
_SHORT_WEIGHTS = {"weights.bin": bytes(4)}
_OWN_CODE = {"score.py": b"import os\nos.abort()\n"}

#: Name → (how to make it, what the refusal says). What only a file system can hold is in ON_DISK.
ANYWHERE: dict[str, tuple[Make, str]] = {
    "path traversal (M1)": (_version(weighted_model("../weights.bin")), _REFUSED),
    "absolute path (M2)": (_version(weighted_model("/etc/hostname")), _REFUSED),
    "relative to the working directory (M5)": (_version(weighted_model("pyproject.toml")), _REFUSED),
    "offset past the end (M6)": (_version(weighted_model("weights.bin"), _SHORT_WEIGHTS), _REFUSED),
    "unknown custom domain (M7)": (_version(_flatten("com.example", opsets={"": 17, "com.example": 1})), _REFUSED),
    "unknown op (M8)": (_version(_one_op("NoSuchOp")), _REFUSED),
    "opset 99 (M9)": (_version(_flatten(opsets={"": 99})), _REFUSED),
    "IR 99 (M10)": (_version(_flatten(ir_version=99)), _REFUSED),
    "empty (M11)": (_version(b""), "0 bytes is not a size"),
    "truncated (M12)": (_version(pixels_as_logits()[:40]), _REFUSED),
    "HTML (M13)": (_version(b"<!DOCTYPE html><title>404</title>"), _REFUSED),
    "git-LFS pointer (M14)": (_version(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"), _REFUSED),
    "wrong sha256 (M16)": (_listing(lambda files: files[MODEL_NAME].update(sha256="0" * 64)), "its sha256 is not"),
    "wrong size": (_listing(lambda files: files[MODEL_NAME].update(bytes=7)), "it has .* bytes"),
    "lists a file that is missing": (_listing(lambda files: files.update({"a.bin": files[MODEL_NAME]})), r"a\.bin: "),
    "lists a path": (_listing(lambda files: files.update({"../a": files[MODEL_NAME]})), r"manifest\.json: "),
    "manifest is no JSON": (_manifest(b"\x00"), r"manifest\.json: "),
    "manifest lists nothing": (_manifest(b"{}"), r"manifest\.json: "),
    "other input shape than declared (M19)": (_declared("[input]\nsize = [3, 3]"), "the model takes 2 x 2"),
    "unknown key": (_declared("[input]\nsise = [2, 2]"), r"input\.sise: unknown key"),
    "declaration is no TOML": (_declared("= ="), "is not TOML"),
    "labels from elsewhere": (_declared("[output]\nlabels = '../../../secret'"), "it is not listed"),
    "NaN output (M20)": (_golden(4.0, _one_op("Acos")), "not a finite number"),
    "other output than the golden one": (_golden(5.0, pixels_as_logits()), "differs from the golden one"),
    "own code that is not switched on": (_version(pixels_as_logits(), _OWN_CODE), "INFERENCE_SCORE_SCRIPTS"),
}

ON_DISK: dict[str, tuple[Make, str]] = {
    "symbolic link (M3)": (_weights_link(lambda name, secret: name.symlink_to(secret)), "cannot be opened as a plain"),
    "hard link (M4)": (_weights_link(lambda name, secret: name.hardlink_to(secret)), "it is a hard link"),
    "directory (M15)": (_folder_as_model, "it is not a plain file"),
    "pipe": (_pipe_as_model, "it is not a plain file"),
    "file that is not listed": (_unlisted, r"extra\.bin: it is not listed"),
}
