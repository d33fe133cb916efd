"""The model repository: what is published, what serves, and which names can name nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.errors import ModelNotFound, ModelUnavailable, ModelVersionNotFound
from inference.models.catalog import parse_reference
from inference.models.manifest import MANIFEST_NAME
from inference.models.repository import ModelRepository
from tests.unit.models.published import pixels_as_logits, write_version


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for version in ("2", "9", "10"):
        write_version(tmp_path, pixels_as_logits(), name="digits", version=version)
    write_version(tmp_path, pixels_as_logits(), name="claims", version="1")
    return tmp_path


@pytest.mark.parametrize(
    ("reference", "parsed"),
    [
        ("digits", ("digits", None)),
        ("digits:10", ("digits", "10")),
        ("a", ("a", None)),
        ("0.b_c-d:0", ("0.b_c-d", "0")),
    ],
)
def test_reference_is_a_name_and_maybe_a_version(reference: str, parsed: tuple[str, str | None]) -> None:
    assert parse_reference(reference) == parsed


@pytest.mark.parametrize(
    "name", ["", "..", ".", "-a", "Digits", "a/b", "a\\b", "a b", "a\n", "é", "a" * 64, "../digits"]
)
def test_name_that_can_name_no_model_is_not_found(folder: Path, name: str) -> None:
    with pytest.raises(ModelNotFound):
        ModelRepository(folder).resolve(name)


@pytest.mark.parametrize("version", ["", "x", "-1", "1.0", "..", "02", "2\n", "２", "1" * 19, "../2", "11"])
def test_version_that_is_not_there_is_not_found(folder: Path, version: str) -> None:
    with pytest.raises(ModelVersionNotFound):
        ModelRepository(folder).resolve(f"digits:{version}")


def test_models_and_versions_are_listed_in_order_of_name_and_number(folder: Path) -> None:
    repository = ModelRepository(folder)

    assert list(repository.survey().models) == ["claims", "digits"]
    assert repository.versions("digits") == ["2", "9", "10"]


def test_highest_version_serves_by_default(folder: Path) -> None:
    assert ModelRepository(folder).resolve("digits").version == "10"


def test_version_without_manifest_is_not_published(folder: Path) -> None:
    (folder / "digits" / "10" / MANIFEST_NAME).unlink()
    (folder / "claims" / "1" / MANIFEST_NAME).unlink()
    repository = ModelRepository(folder)

    assert repository.resolve("digits").version == "9"
    assert list(repository.survey().models) == ["digits"]
    with pytest.raises(ModelVersionNotFound):
        repository.resolve("digits:10")
    with pytest.raises(ModelNotFound):
        repository.resolve("claims")


def test_new_version_is_seen_as_soon_as_it_is_published(folder: Path) -> None:
    repository = ModelRepository(folder)
    write_version(folder, pixels_as_logits(), name="digits", version="11")

    assert repository.resolve("digits").version == "11"


def test_version_carries_the_sha256_of_its_manifest(folder: Path) -> None:
    repository = ModelRepository(folder)
    before = repository.resolve("digits:2")
    (before.path / MANIFEST_NAME).write_bytes(b"other")

    assert str(before) == "digits:2"
    assert repository.resolve("digits:2").manifest_sha256 != before.manifest_sha256


def test_pinned_version_serves(folder: Path) -> None:
    (folder / "digits" / "serving.toml").write_text("version = 9\n[canary]\nversion = 10\nshare = 0.1\n")
    repository = ModelRepository(folder)
    serving = repository.survey().models["digits"].serving

    assert repository.resolve("digits").version == "9"
    assert repository.resolve("digits:10").version == "10"
    assert serving.canary is not None
    assert (serving.canary.version, serving.canary.share) == (10, 0.1)


def test_canary_never_becomes_the_default(folder: Path) -> None:
    (folder / "digits" / "serving.toml").write_text("[canary]\nversion = 10\nshare = 0.1\n")

    assert ModelRepository(folder).resolve("digits").version == "9"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("version = 3", "pins version 3, which is not published"),
        ("version = '2'", "version: "),
        ("version = -1", "version: "),
        ("pinned = 2", "pinned: "),
        ("[canary]\nversion = 2\nshare = 1.5", r"canary\.share: "),
        ("[canary]\nversion = 2", r"canary\.share: "),
        ("version = ", "cannot be read"),
    ],
)
def test_broken_serving_file_is_named_with_its_key(folder: Path, content: str, reason: str) -> None:
    (folder / "digits" / "serving.toml").write_text(content)

    with pytest.raises(ModelUnavailable, match=rf"serving\.toml.*{reason}"):
        ModelRepository(folder).resolve("digits")


def test_links_are_no_models_and_no_versions(folder: Path) -> None:
    (folder / "linked").symlink_to(folder / "claims")
    (folder / "claims" / "2").symlink_to(folder / "digits" / "2")
    repository = ModelRepository(folder)

    assert list(repository.survey().models) == ["claims", "digits"]
    assert repository.versions("claims") == ["1"]
    with pytest.raises(ModelNotFound):
        repository.resolve("linked")


def test_missing_repository_is_unavailable_and_does_not_say_where_it_should_be(tmp_path: Path) -> None:
    repository = ModelRepository(tmp_path / "nowhere")

    # A lost mount is no proof that a model does not exist: an item of a batch must be tried again, not failed.
    for call in (repository.survey, lambda: repository.resolve("digits")):
        with pytest.raises(ModelUnavailable) as refusal:
            call()
        assert "nowhere" not in refusal.value.message
