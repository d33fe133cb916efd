"""`onnxfn model` on repositories: versions made from real ONNX files, checked, published to Azurite and taken back."""

from __future__ import annotations

import gzip
import json
import uuid
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

from inference.models import authoring
from inference.models.inspection import Inspection
from inference.models.manifest import MANIFEST_NAME
from inference.models.repository import ModelVersion
from tests.unit.cli.service import Program
from tests.unit.models.published import build_model, pixels_as_logits, weighted_model, write_version


def any_length() -> bytes:
    """A model of a row of any length, so that no size of zeros is known to fit."""
    return build_model(
        [helper.make_node("Identity", ["x"], ["y"])],
        inputs={"x": (TensorProto.FLOAT, ["n", "m"])},
        outputs={"y": (TensorProto.FLOAT, ["n", "m"])},
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(pixels_as_logits())
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.fromarray(np.array([[0, 50], [100, 255]], np.uint8)).save(path)
    return path


def test_added_version_is_published_with_a_proposed_declaration(
    onnxfn: Program, repository: Path, onnx_file: Path, tmp_path: Path, picture: Path
) -> None:
    labels = tmp_path / "names.txt"
    labels.write_text("a\nb\nc\nd\n")
    options = ("--name", "tiny", "--repository", str(repository), "--labels", str(labels))
    done = onnxfn("model", "add", str(onnx_file), *options, "--golden", str(picture), "--json")

    assert (done.code, done.json["ok"], done.json["version"]) == (0, True, "1")
    assert done.json["predictions"][0]["label"] == "d"
    assert [step["step"] for step in done.json["steps"]] == ["manifest", "files", "load", "warm-up", "golden check"]
    folder = repository / "tiny" / "1"
    assert done.json["path"] == str(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "golden-input.npz",
        "golden-output.npz",
        "labels.txt",
        "manifest.json",
        "model.onnx",
        "model.toml",
    ]
    assert 'task = "classification"' in (folder / "model.toml").read_text()
    assert "# in:  input float32 N x 1 x 2 x 2" in done.json["declaration"]
    assert onnxfn("model", "add", str(onnx_file), *options).code == 0
    assert (repository / "tiny" / "2" / MANIFEST_NAME).exists()


def test_version_that_fails_its_check_leaves_nothing(
    onnxfn: Program, repository: Path, onnx_file: Path, tmp_path: Path
) -> None:
    declaration = tmp_path / "model.toml"
    declaration.write_text("[input]\nsize = [3, 3]\n")
    options = ("--name", "tiny", "--repository", str(repository), "--declaration", str(declaration))
    done = onnxfn("model", "add", str(onnx_file), *options)

    assert done.code == 1
    assert "load         failed: model.toml: input.size: the model takes 2 x 2." in done.out
    assert done.err == "onnxfn: tiny:1 cannot serve: model.toml: input.size: the model takes 2 x 2.\n"
    assert list(repository.iterdir()) == []


def test_file_that_is_no_model_leaves_nothing(onnxfn: Program, repository: Path, tmp_path: Path) -> None:
    (tmp_path / "page.onnx").write_text("<html>")
    done = onnxfn("model", "add", str(tmp_path / "page.onnx"), "--name", "tiny", "--repository", str(repository))

    assert (done.code, done.out) == (1, "")
    assert "onnxruntime refuses it" in done.err
    assert list(repository.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        (b"", "it is empty."),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 12345\n", "a pointer of Git LFS"),
        (b"PK\x03\x04archive/data.pkl", "a zip archive, as PyTorch and Keras save theirs"),
        (b"\x89HDF\r\n\x1a\n\0\0", "an HDF5 file, as Keras saves"),
        (b"\x80\x02}q\0", "a Python pickle"),
        (b"\x20\0\0\0ORTM\0", "in onnxruntime's own format (.ort)"),
        (b"\x1c\0\0\0TFL3\0", "a model of TensorFlow Lite"),
        (b"<!DOCTYPE html><title>Sign in</title>", "a page of HTML or XML"),
        (b'{"error": "not found"}', "a JSON document"),
        (gzip.compress(pixels_as_logits()), "packed with gzip"),
        (pixels_as_logits()[:-60], "bytes too early; it was not copied or downloaded whole."),
    ],
)
def test_file_that_is_taken_for_a_model_is_named_for_what_it_is(
    onnxfn: Program, repository: Path, tmp_path: Path, content: bytes, mistake: str
) -> None:
    (tmp_path / "it.onnx").write_bytes(content)
    done = onnxfn("model", "add", str(tmp_path / "it.onnx"), "--name", "tiny", "--repository", str(repository))

    assert (done.code, done.out) == (1, "")
    assert mistake in done.err
    assert "Protobuf" not in done.err


def test_file_of_bytes_that_nobody_knows_is_refused_in_onnxruntimes_words(
    onnxfn: Program, repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "it.onnx").write_bytes(bytes(range(256)))
    done = onnxfn("model", "add", str(tmp_path / "it.onnx"), "--name", "tiny", "--repository", str(repository))

    assert (done.code, done.err.endswith("Protobuf parsing failed. (model_unavailable)\n")) == (1, True)


def test_model_in_a_folder_that_has_another_name_is_named(onnxfn: Program, repository: Path, tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "resnet.onnx").write_bytes(pixels_as_logits())
    done = onnxfn("model", "add", str(tmp_path / "export"), "--name", "tiny", "--repository", str(repository))

    assert done.code == 1
    assert "export has no model.onnx. In a folder resnet.onnx is to be called so." in done.err


def test_folder_is_added_with_all_that_belongs_to_it(onnxfn: Program, repository: Path, tmp_path: Path) -> None:
    source = tmp_path / "export"
    source.mkdir()
    (source / "model.onnx").write_bytes(weighted_model("weights.bin"))
    (source / "weights.bin").write_bytes(np.full((1, 4), 3, np.float32).tobytes())
    done = onnxfn("model", "add", str(source), "--name", "tiny", "--repository", str(repository))

    assert done.code == 0
    assert (repository / "tiny" / "1" / "weights.bin").exists()


def test_proposal_for_a_graph_that_ends_in_a_softmax_leaves_its_scores_as_they_are(
    onnxfn: Program, repository: Path, tmp_path: Path, picture: Path
) -> None:
    graph = build_model(
        [helper.make_node("Flatten", ["input"], ["flat"]), helper.make_node("Softmax", ["flat"], ["scores"])],
        inputs={"input": (TensorProto.FLOAT, ["batch", 1, 2, 2])},
        outputs={"scores": (TensorProto.FLOAT, ["batch", 4])},
    )
    (tmp_path / "keras.onnx").write_bytes(graph)
    options = ("--name", "tiny", "--repository", str(repository), "--golden", str(picture), "--json")
    done = onnxfn("model", "add", str(tmp_path / "keras.onnx"), *options)

    pixels = np.exp(np.array([0, 50, 100, 255]) / 255)
    expected = sorted(pixels / pixels.sum(), reverse=True)
    assert done.code == 0
    assert [prediction["score"] for prediction in done.json["predictions"]] == pytest.approx(expected)
    assert 'activation = "none"' in done.json["declaration"]
    assert (repository / "tiny" / "1" / "model.toml").read_text() == done.json["declaration"]


def test_model_without_its_weights_is_refused_with_what_to_do(
    onnxfn: Program, repository: Path, tmp_path: Path
) -> None:
    export = tmp_path / "export"
    export.mkdir()
    (export / "resnet.onnx").write_bytes(weighted_model("resnet.onnx.data"))
    (export / "resnet.onnx.data").write_bytes(np.full((1, 4), 3, np.float32).tobytes())
    options = ("--name", "tiny", "--repository", str(repository))
    alone = onnxfn("model", "add", str(export / "resnet.onnx"), *options)
    folder = onnxfn("model", "add", str(export), *options)

    assert (alone.code, folder.code) == (1, 1)
    assert "resnet.onnx.data" in alone.err
    assert "is added as a folder that has them beside model.onnx" in alone.err
    assert "export has no model.onnx." in folder.err
    (export / "resnet.onnx").rename(export / "model.onnx")
    assert onnxfn("model", "add", str(export), *options).code == 0


def test_declaration_that_is_not_utf_8_is_named(
    onnxfn: Program, repository: Path, onnx_file: Path, tmp_path: Path
) -> None:
    declaration = tmp_path / "model.toml"
    declaration.write_bytes(b'task = "classification"  # caf\xe9\n')
    options = ("--name", "tiny", "--repository", str(repository), "--declaration", str(declaration))
    done = onnxfn("model", "add", str(onnx_file), *options)

    assert done.code == 1
    assert "model.toml is not TOML: 'utf-8' codec can't decode" in done.err


@pytest.mark.parametrize(
    "options",
    [
        ("--name", "Tiny"),
        ("--name", "tiny", "--version", "one"),
        ("--name", "tiny", "--version", "01"),
        ("--name", "tiny", "--repository", "https://account.blob.core.windows.net/models"),
        ("--name", "tiny", "--task", "sorting"),
        ("--name", "tiny", "--labels", "nowhere.txt"),
        (),
    ],
)
def test_wrong_call_of_add_is_2(onnxfn: Program, onnx_file: Path, options: tuple[str, ...]) -> None:
    assert onnxfn("model", "add", str(onnx_file), *options).code == 2


def test_version_is_never_written_over(onnxfn: Program, repository: Path, onnx_file: Path) -> None:
    options = ("--name", "tiny", "--version", "7", "--repository", str(repository))
    assert onnxfn("model", "add", str(onnx_file), *options).code == 0
    done = onnxfn("model", "add", str(onnx_file), *options)

    assert done.code == 2
    assert "versions are never written over" in done.err


def test_check_takes_a_name_or_a_folder_and_scores_an_image(onnxfn: Program, repository: Path, picture: Path) -> None:
    version = write_version(repository, pixels_as_logits(), labels=["a", "b", "c", "d"])
    for target in ("tiny", "tiny:1", str(version.path)):
        done = onnxfn("model", "check", target, "--repository", str(repository), "--image", str(picture))
        assert done.code == 0
        assert done.out.splitlines()[0] == "tiny:1"
        assert "d  0." in done.out


def test_check_says_which_step_fails_and_why(onnxfn: Program, repository: Path) -> None:
    version = write_version(repository, pixels_as_logits())
    (version.path / "model.onnx").write_bytes(b"x")
    done = onnxfn("model", "check", "tiny", "--repository", str(repository), "--json")

    assert done.code == 1
    assert done.json["ok"] is False
    assert [step["ok"] for step in done.json["steps"]] == [True, False]
    assert done.json["steps"][-1]["detail"].startswith("model.onnx: it has 1 bytes, manifest.json says")


def test_check_does_not_claim_a_run_that_only_a_request_can_make(onnxfn: Program, repository: Path) -> None:
    write_version(repository, pixels_as_logits(), toml="task = 'tensor'")
    write_version(repository, any_length(), name="other")
    details = [
        onnxfn("model", "check", name, "--repository", str(repository), "--json").json["steps"][3]["detail"]
        for name in ("tiny", "other")
    ]

    assert details == ["one run on zeros", "no run: only a real request can tell what fits"]


def test_check_runs_the_score_py_of_a_version_only_where_that_is_allowed(
    onnxfn: Program, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    script = f"open({str(ran)!r}, 'w').close()\n\n\ndef init(): pass\n\n\ndef run(data): return data\n"
    write_version(repository, pixels_as_logits(), files={"score.py": script.encode()})
    check = ("model", "check", "tiny", "--repository", str(repository))
    monkeypatch.delenv("INFERENCE_SCORE_SCRIPTS", raising=False)
    refused = onnxfn(*check)

    assert (refused.code, ran.exists()) == (1, False)
    assert "INFERENCE_SCORE_SCRIPTS=true, a check where that is set or with --score-scripts." in refused.err
    allowed = onnxfn(*check, "--score-scripts")
    assert (allowed.code, "init() alone, run() was not called" in allowed.out) == (0, True)
    assert ran.exists()
    monkeypatch.setenv("INFERENCE_SCORE_SCRIPTS", "true")
    assert onnxfn(*check).code == 0


@pytest.mark.parametrize(
    ("target", "code"),
    [("other", "model_not_found"), ("tiny:2", "model_version_not_found"), ("a/b", "model_not_found")],
)
def test_check_of_what_is_not_there_is_2(onnxfn: Program, repository: Path, target: str, code: str) -> None:
    write_version(repository, pixels_as_logits())
    done = onnxfn("model", "check", target, "--repository", str(repository))

    assert done.code == 2
    assert f"({code})" in done.err


def test_folder_without_a_manifest_is_not_published_and_check_says_so(onnxfn: Program, repository: Path) -> None:
    version = write_version(repository, pixels_as_logits())
    (version.path / MANIFEST_NAME).unlink()
    done = onnxfn("model", "check", str(version.path))

    assert done.code == 1
    assert "manifest.json: it cannot be opened" in done.err


def test_removed_version_is_gone_with_its_empty_model(onnxfn: Program, repository: Path) -> None:
    write_version(repository, pixels_as_logits())
    done = onnxfn("model", "remove", "tiny:1", "--repository", str(repository), "--json")

    assert (done.code, done.json) == (0, {"model": "tiny", "version": "1", "removed": True})
    assert list(repository.iterdir()) == []
    for reference in ("tiny:1", "tiny", "../tiny:1"):
        assert onnxfn("model", "remove", reference, "--repository", str(repository)).code == 2


def test_listing_of_a_folder_names_what_serves_and_what_is_wrong(onnxfn: Program, repository: Path) -> None:
    for version in ("1", "2"):
        write_version(repository, pixels_as_logits(), version=version)
    write_version(repository, pixels_as_logits(), name="other")
    (repository / "tiny" / "serving.toml").write_text("[canary]\nversion = 2\nshare = 0.1\n")
    (repository / "other" / "serving.toml").write_text("version = 9")

    assert onnxfn("model", "list", "--repository", str(repository), "--json").json == {
        "models": [
            {
                "name": "other",
                "version": None,
                "versions": ["1"],
                "canary": None,
                "problem": "other: serving.toml pins version 9, which is not published.",
            },
            {"name": "tiny", "version": "1", "versions": ["1", "2"], "canary": "2", "problem": None},
        ]
    }
    assert onnxfn("model", "list", "--repository", str(repository)).out.splitlines()[2].split() == [
        "tiny",
        "1",
        "1,",
        "2",
        "2",
    ]


def container_url(azurite: str) -> str:
    endpoint = dict(part.split("=", 1) for part in azurite.split(";") if part)["BlobEndpoint"]
    return f"{endpoint.rstrip('/')}/t-{uuid.uuid4().hex}/team"


def test_version_goes_to_a_container_and_comes_back(
    onnxfn: Program, repository: Path, azurite: str, picture: Path
) -> None:
    version, url = write_version(repository, pixels_as_logits()), container_url(azurite)
    account = ("--storage", azurite)
    done = onnxfn("model", "publish", str(version.path), url, *account, "--json")
    assert (done.code, done.json) == (0, {"model": "tiny", "version": "1", "published": True})
    assert onnxfn("model", "publish", str(version.path), url, *account).out == "tiny:1 was published already.\n"

    listed = onnxfn("model", "list", "--repository", url, *account, "--json").json
    assert [model["versions"] for model in listed["models"]] == [["1"]]
    done = onnxfn("model", "check", "tiny", "--repository", url, *account, "--image", str(picture), "--json")
    assert (done.code, done.json["ok"], len(done.json["predictions"])) == (0, True, 4)

    (version.path / "labels.txt").write_text("a\nb\nc\nd\n")
    done = onnxfn("model", "publish", str(version.path), url, *account)
    assert (done.code, "it is not listed" in done.err) == (1, True)
    assert onnxfn("model", "remove", "tiny:1", "--repository", url, *account).code == 0
    assert json.loads(onnxfn("model", "list", "--repository", url, *account, "--json").out) == {"models": []}


def test_other_version_under_a_published_number_is_2(
    onnxfn: Program, repository: Path, tmp_path: Path, azurite: str
) -> None:
    url = container_url(azurite)
    first = write_version(repository, pixels_as_logits())
    second = write_version(tmp_path / "other", pixels_as_logits(), labels=["a", "b", "c", "d"])
    assert onnxfn("model", "publish", str(first.path), url, "--storage", azurite).code == 0
    done = onnxfn("model", "publish", str(second.path), url, "--storage", azurite)

    assert done.code == 2
    assert "publish this one under a new number" in done.err


@pytest.mark.parametrize(
    "url",
    ["ftp://account/models", "https://account.blob.core.windows.net/", "https://a.blob.core.windows.net/c?sv=1&sig=x"],
)
def test_url_that_names_no_container_is_2_and_is_not_repeated(onnxfn: Program, repository: Path, url: str) -> None:
    version = write_version(repository, pixels_as_logits())
    done = onnxfn("model", "publish", str(version.path), url)

    assert done.code == 2
    assert "sig=x" not in done.err


def test_folder_that_is_not_named_like_a_version_is_2(onnxfn: Program, tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()

    assert onnxfn("model", "publish", str(tmp_path / "latest"), "https://a.blob.core.windows.net/models").code == 2


def test_number_that_somebody_else_took_meanwhile_is_said(
    onnxfn: Program, repository: Path, onnx_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal = authoring._seal

    def seal_late(draft: ModelVersion) -> Inspection:
        (repository / "tiny/1").mkdir(parents=True, exist_ok=True)
        (repository / "tiny/1/model.onnx").touch()
        return seal(draft)

    monkeypatch.setattr(authoring, "_seal", seal_late)

    done = onnxfn("model", "add", str(onnx_file), "--name", "tiny", "--repository", str(repository))

    assert done.code == 2
    assert "There is a tiny:1 already" in done.err
