"""The cache of versions with other processes about: what they fill, what they use, and what is left when they die."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from inference.errors import InsufficientStorage, ModelUnavailable
from inference.models.cache import VersionCache
from inference.models.manifest import MANIFEST_NAME

A, B = "a" * 64, "b" * 64

OTHER_PROCESS = """\
import sys
from pathlib import Path
from inference.models.cache import VersionCache
cache = VersionCache(Path(sys.argv[1]), 1000)
lease = cache.reserve("a" * 64, 600) if sys.argv[2] == "reserve" else cache.open("a" * 64)
print("got it" if lease else "got nothing", flush=True)
sys.stdin.read()
"""


@contextmanager
def other_process(folder: Path, act: str) -> Iterator[subprocess.Popen[str]]:
    """A process that reserves or opens entry A and keeps it until it is killed."""
    command = [sys.executable, "-c", OTHER_PROCESS, str(folder), act]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "got it\n"
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def cache(tmp_path: Path) -> VersionCache:
    return VersionCache(tmp_path / "cache", 1000)


def fill(cache: VersionCache, key: str, size: int) -> Path:
    """Make an entry and give it back; return its folder."""
    filling = cache.reserve(key, size)
    assert filling is not None
    (filling.path / "model.onnx").write_bytes(bytes(size))
    (filling.path / MANIFEST_NAME).write_bytes(b"")
    lease = cache.publish(filling, key)
    lease.close()
    return lease.path


def test_entry_that_another_process_fills_cannot_be_reserved_until_that_process_dies(
    cache: VersionCache, tmp_path: Path
) -> None:
    with other_process(tmp_path / "cache", "reserve") as process:
        assert cache.reserve(A, 600) is None
        with pytest.raises(InsufficientStorage):
            cache.reserve(B, 600)  # its bytes are spoken for
        process.kill()
        process.wait()
        filling = cache.reserve(A, 600)

    assert filling is not None
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [filling.path.name]


def test_entry_that_another_process_has_filled_since_it_was_looked_for_is_not_filled_again(cache: VersionCache) -> None:
    assert cache.open(A) is None
    fill(cache, A, 600)

    assert cache.reserve(A, 600) is None


def test_entry_that_another_process_uses_is_not_evicted_until_that_process_dies(
    cache: VersionCache, tmp_path: Path
) -> None:
    entry = fill(cache, A, 600)
    with other_process(tmp_path / "cache", "open") as process:
        with pytest.raises(InsufficientStorage):
            cache.reserve(B, 600)
        assert entry.exists()
        process.kill()
        process.wait()
        assert cache.reserve(B, 600) is not None

    assert not entry.exists()


def test_half_an_entry_is_none(cache: VersionCache) -> None:
    entry = fill(cache, A, 10)
    (entry / MANIFEST_NAME).unlink()

    assert cache.open(A) is None
    assert fill(cache, A, 20) == entry
    assert (entry / "model.onnx").stat().st_size == 20


def test_entry_that_is_there_already_wins(cache: VersionCache) -> None:
    late = cache.reserve(A, 20)
    assert late is not None
    entry = late.path.parent / A
    entry.mkdir()
    (entry / MANIFEST_NAME).write_bytes(b"")

    assert cache.publish(late, A).path == entry
    assert [path.name for path in entry.parent.iterdir()] == [A]


def test_discarded_entry_is_gone_and_a_newer_one_of_that_name_is_not(cache: VersionCache) -> None:
    entry = fill(cache, A, 10)
    first, second = cache.open(A), cache.open(A)
    assert first is not None
    assert second is not None
    cache.discard(first, A)
    assert not entry.exists()
    fill(cache, A, 10)
    cache.discard(second, A)

    assert entry.exists()


def test_folder_that_others_may_write_to_is_made_private(cache: VersionCache, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o777)
    (tmp_path / "cache").chmod(0o777)
    fill(cache, A, 10)

    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


def test_nothing_is_opened_in_or_put_into_another_users_folder(cache: VersionCache, tmp_path: Path) -> None:
    fill(cache, A, 10)
    try:
        os.chown(tmp_path / "cache", 12_345, -1)
    except PermissionError:
        pytest.skip("only root gives a folder away, and not in every container")

    assert cache.open(A) is None
    with pytest.raises(ModelUnavailable, match="another user"):
        cache.reserve(A, 10)


def test_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "cache").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ModelUnavailable, match="the model cache cannot be written"):
        VersionCache(tmp_path / "cache", 1000).reserve(A, 10)


def test_version_that_can_never_fit_evicts_nothing(cache: VersionCache) -> None:
    entry = fill(cache, A, 600)

    with pytest.raises(ModelUnavailable, match="more than the model cache may hold"):
        cache.reserve(B, 1001)
    assert entry.exists()
