"""Manifests: what vouches for a version's files, and everything that it refuses to vouch for."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from inference.errors import ModelUnavailable
from inference.models import manifest
from inference.models.manifest import (
    MANIFEST_NAME,
    Manifest,
    compute_manifest,
    parse_manifest,
    read_listed_file,
    read_manifest_bytes,
    verify_files,
    verify_unchanged,
    write_manifest,
)

WEIGHTS = b"weights" * 1000


@pytest.fixture
def version(tmp_path: Path) -> Path:
    folder = tmp_path / "1"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(WEIGHTS)
    (folder / "labels.txt").write_bytes(b"cat\ndog\n")
    return folder


def test_manifest_names_size_and_sha256_of_every_file_but_itself(version: Path) -> None:
    write_manifest(version)
    written = json.loads((version / MANIFEST_NAME).read_bytes())

    assert written == {
        "files": {
            "labels.txt": {"sha256": hashlib.sha256(b"cat\ndog\n").hexdigest(), "bytes": 8},
            "model.onnx": {"sha256": hashlib.sha256(WEIGHTS).hexdigest(), "bytes": 7000},
        }
    }
    assert parse_manifest(read_manifest_bytes(version)) == compute_manifest(version)
    assert compute_manifest(version).total_bytes == 7008


def test_writing_a_manifest_again_changes_nothing_and_leaves_nothing_behind(version: Path) -> None:
    first = write_manifest(version)
    second = write_manifest(version)

    assert first == second
    assert sorted(path.name for path in version.parent.rglob("*")) == ["1", "labels.txt", "manifest.json", "model.onnx"]


@pytest.mark.parametrize("size", [1, 3, 4, 6, 7, 8])
def test_files_of_any_length_are_hashed_whole(version: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    content = bytes(range(size))
    (version / "model.onnx").write_bytes(content)
    monkeypatch.setattr(manifest, "_PIECE_BYTES", 3)

    assert compute_manifest(version).files["model.onnx"].sha256 == hashlib.sha256(content).hexdigest()


def test_untouched_files_are_verified(version: Path) -> None:
    stamps = verify_files(version, write_manifest(version))

    assert sorted(stamps) == ["labels.txt", "model.onnx"]
    verify_unchanged(version, stamps)


def flip_a_byte(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(WEIGHTS[:-1] + b"!")


def truncate(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(WEIGHTS[:100])


def remove(folder: Path) -> None:
    (folder / "model.onnx").unlink()


def add_unlisted_file(folder: Path) -> None:
    (folder / "extra.bin").write_bytes(b"x")


def add_folder(folder: Path) -> None:
    (folder / "nested").mkdir()


def replace_by_symlink(folder: Path) -> None:
    (folder / "model.onnx").rename(folder.parent / "elsewhere")
    (folder / "model.onnx").symlink_to(folder.parent / "elsewhere")


def give_it_a_second_name(folder: Path) -> None:
    os.link(folder / "model.onnx", folder.parent / "elsewhere")


def replace_by_folder(folder: Path) -> None:
    remove(folder)
    (folder / "model.onnx").mkdir()


def replace_by_fifo(folder: Path) -> None:
    remove(folder)
    os.mkfifo(folder / "model.onnx")


@pytest.mark.parametrize(
    ("tamper", "reason"),
    [
        (flip_a_byte, r"model\.onnx: its sha256 is not the one in manifest\.json"),
        (truncate, r"model\.onnx: it has 100 bytes, manifest\.json says 7000"),
        (remove, r"model\.onnx: it cannot be opened as a plain file: No such file"),
        (add_unlisted_file, r"extra\.bin: it is not listed"),
        (add_folder, r"nested: it is not listed"),
        (replace_by_symlink, r"model\.onnx: it cannot be opened as a plain file"),
        (give_it_a_second_name, r"model\.onnx: it is a hard link"),
        (replace_by_folder, r"model\.onnx: it is not a plain file"),
        (replace_by_fifo, r"model\.onnx: it is not a plain file"),
    ],
)
def test_tampered_version_is_refused_with_the_file_and_the_reason(
    version: Path, tamper: Callable[[Path], None], reason: str
) -> None:
    manifest = write_manifest(version)
    tamper(version)

    with pytest.raises(ModelUnavailable, match=reason) as refusal:
        verify_files(version, manifest)
    assert str(version.parent) not in refusal.value.message


def test_file_written_between_verification_and_use_is_noticed(version: Path) -> None:
    os.utime(version / "model.onnx", (0, 0))  # many kernels' stamps differ only some milliseconds apart
    stamps = verify_files(version, write_manifest(version))
    (version / "model.onnx").write_bytes(WEIGHTS)  # the same content, but nobody has verified that

    with pytest.raises(ModelUnavailable, match=r"model\.onnx: it changed while it was being loaded"):
        verify_unchanged(version, stamps)


DIGEST = {"sha256": "0" * 64, "bytes": 1}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        json.dumps({"files": {}}).encode(),
        json.dumps({"files": {"model.onnx": DIGEST}, "signed_by": "me"}).encode(),
        json.dumps({"files": {"model.onnx": {"sha256": "0" * 63, "bytes": 1}}}).encode(),
        json.dumps({"files": {"model.onnx": {"sha256": "G" * 64, "bytes": 1}}}).encode(),
        json.dumps({"files": {"model.onnx": {"sha256": "0" * 64, "bytes": -1}}}).encode(),
        json.dumps({"files": {"manifest.json": DIGEST}}).encode(),
        *(
            json.dumps({"files": {name: DIGEST}}).encode()
            for name in [
                "../model.onnx",
                "/etc/passwd",
                "a/b",
                "a\\b",
                "..",
                ".",
                ".hidden",
                "",
                "a\n",
                "a\0b",
                "é",
                "-x",
            ]
        ),
    ],
)
def test_malformed_manifest_is_refused(content: bytes) -> None:
    with pytest.raises(ModelUnavailable, match=r"^manifest\.json: "):
        parse_manifest(content)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({".DS_Store": DIGEST}, r"files: '\.DS_Store': a name has letters"),
        ({"../a": DIGEST}, r"files: '\.\./a': a name has letters"),
        ({"labels.txt": {"sha256": "0" * 64, "bytes": -1}}, r"files\.labels\.txt\.bytes: expected a whole number >= 0"),
        ({"labels.txt": {**DIGEST, "md5": ""}}, r"files\.labels\.txt\.md5: unknown key"),
        ({"labels.txt": 1}, r"files\.labels\.txt: expected an object"),
    ],
)
def test_file_that_a_manifest_cannot_list_is_named(files: dict[str, object], reason: str) -> None:
    with pytest.raises(ModelUnavailable, match=rf"^manifest\.json: {reason}"):
        parse_manifest(json.dumps({"files": {"model.onnx": DIGEST, **files}}).encode())


def test_folder_with_a_name_that_no_manifest_can_list_cannot_be_published(version: Path) -> None:
    (version / ".hidden").write_bytes(b"x")

    with pytest.raises(ModelUnavailable, match=r"^manifest\.json: "):
        write_manifest(version)
    assert not (version / MANIFEST_NAME).exists()


def test_listed_file_is_read_only_when_it_is_what_the_manifest_says(version: Path) -> None:
    manifest = write_manifest(version)
    assert read_listed_file(version, manifest, "labels.txt", max_bytes=8) == b"cat\ndog\n"

    with pytest.raises(ModelUnavailable, match="larger than 7 bytes"):
        read_listed_file(version, manifest, "labels.txt", max_bytes=7)
    with pytest.raises(ModelUnavailable, match="not listed"):
        read_listed_file(version, manifest, "../labels.txt", max_bytes=8)
    (version / "labels.txt").write_bytes(b"dog\ncat\n")
    with pytest.raises(ModelUnavailable, match=r"not what manifest\.json says"):
        read_listed_file(version, manifest, "labels.txt", max_bytes=8)


def test_manifest_is_frozen(version: Path) -> None:
    manifest: Manifest = write_manifest(version)

    with pytest.raises(AttributeError, match="immutable"):
        manifest.files = {}  # type: ignore[misc]
