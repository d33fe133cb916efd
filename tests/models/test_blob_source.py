"""A repository in a container: what is published, and versions that come whole, verified and once, or not at all."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from inference.errors import InsufficientStorage, ModelUnavailable, StorageUnavailable
from inference.models.blob_source import BlobSource
from inference.models.catalog import Release
from inference.models.loading import load_ready_session
from inference.models.manifest import MANIFEST_NAME
from inference.models.publication import VersionExists, publish_version, remove_version
from inference.settings import StorageSettings
from inference.storage import BlobStore
from inference.storage.azure import AzureStorage
from tests.fakes import FakeBlobStore, FakeStorage
from tests.models.conftest import PREFIX, NewSource
from tests.unit.models.published import pixels_as_logits, write_version

PIXELS = np.array([[[[1, 2], [3, 4]]]], np.float32)


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A repository on disk that versions are published from."""
    return tmp_path / "local"


async def publish(blobs: BlobStore, local: Path, *, version: str = "1", name: str = "tiny", **files: bytes) -> None:
    """Publish a tiny model; further files by name, with `_` for a dot."""
    named = {file.replace("_", "."): content for file, content in files.items()}
    written = write_version(local, pixels_as_logits(), name=name, version=version, files=named)
    await publish_version(written.path, blobs, PREFIX)


async def only_release(source: BlobSource, reference: str = "tiny") -> Release:
    model = (await source.survey()).find(reference)
    return model.candidates()[0]


def entries(cache_folder: Path) -> list[str]:
    return sorted(path.name for path in cache_folder.iterdir()) if cache_folder.exists() else []


async def test_container_of_a_name_that_cannot_be_is_said(azurite: str, new_source: NewSource) -> None:
    async with AzureStorage.connect(StorageSettings(connection_string=azurite)) as account:
        with pytest.raises(ModelUnavailable, match="The model repository cannot be read"):
            await new_source(blobs=account.blobs("Bad_Name")).survey()


async def test_empty_container_publishes_nothing_and_says_so(new_source: NewSource) -> None:
    catalog = await new_source().survey()

    assert catalog.models == {}
    with pytest.raises(ModelUnavailable, match="no published model"):
        catalog.find("tiny")


async def test_survey_finds_versions_with_a_manifest_below_the_prefix_and_nothing_else(
    new_source: NewSource, blobs: BlobStore, local: Path
) -> None:
    for version in ("2", "10", "9"):
        await publish(blobs, local, version=version)
    await publish(blobs, local, name="other")
    await blobs.write(f"{PREFIX}tiny/11/model.onnx", b"an upload under way")
    for stray in (f"{PREFIX}Tiny/1/{MANIFEST_NAME}", f"{PREFIX}tiny/01/{MANIFEST_NAME}", f"tiny/1/{MANIFEST_NAME}"):
        await blobs.write(stray, b"{}")
    catalog = await new_source().survey()

    assert {name: list(model.releases) for name, model in catalog.models.items()} == {
        "other": ["1"],
        "tiny": ["2", "9", "10"],
    }
    assert catalog.find("tiny").candidates()[0].version == "10"


async def test_serving_file_is_read_when_it_was_written_and_only_then(local: Path, new_source: NewSource) -> None:
    storage = FakeStorage()
    blobs = storage.blobs("models")
    await publish(blobs, local)
    await publish(blobs, local, version="2")
    source = new_source(blobs=blobs)
    await blobs.write(f"{PREFIX}tiny/serving.toml", b"version = 1")
    assert (await only_release(source)).version == "1"

    storage.calls.clear()
    assert (await only_release(source)).version == "1"
    assert [call.method for call in storage.calls] == ["blobs.list"]
    await blobs.write(f"{PREFIX}tiny/serving.toml", b"version = 2")
    assert (await only_release(source)).version == "2"
    await blobs.delete(f"{PREFIX}tiny/serving.toml")
    assert (await source.survey()).find("tiny").serving.version is None


async def test_broken_serving_file_is_named(new_source: NewSource, blobs: BlobStore, local: Path) -> None:
    await publish(blobs, local)
    await blobs.write(f"{PREFIX}tiny/serving.toml", b"x" * 70_000)

    with pytest.raises(ModelUnavailable, match=r"^tiny: serving\.toml: it is larger than 65536 bytes"):
        await only_release(new_source())


async def test_fetched_version_is_whole_private_and_runs(
    new_source: NewSource, blobs: BlobStore, local: Path, cache_folder: Path
) -> None:
    await publish(blobs, local, labels_txt=b"a\nb\nc\nd\n")
    source = new_source()
    fetched = await source.fetch(await only_release(source))

    session = load_ready_session(fetched.version)
    assert session.run(PIXELS)["logits"].tolist() == [[1, 2, 3, 4]]
    assert session.spec.output.labels == ("a", "b", "c", "d")
    assert fetched.bytes == session.bytes
    assert entries(cache_folder) == [fetched.version.manifest_sha256]
    for path in (cache_folder, fetched.version.path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((fetched.version.path / "model.onnx").stat().st_mode) == 0o600
    fetched.release()


async def test_version_in_the_cache_is_not_fetched_again_by_the_next_process(
    local: Path, new_source: NewSource
) -> None:
    storage = FakeStorage()
    blobs = storage.blobs("models")
    await publish(blobs, local)
    first = new_source(blobs=blobs)
    (await first.fetch(await only_release(first))).release()

    storage.calls.clear()
    second = new_source(blobs=blobs)
    fetched = await second.fetch(await only_release(second))
    assert [call.method for call in storage.calls] == ["blobs.list", "blobs.read_range"]
    assert load_ready_session(fetched.version).run(PIXELS)["logits"].tolist() == [[1, 2, 3, 4]]


async def test_damaged_entry_is_noticed_and_fetched_again(new_source: NewSource, blobs: BlobStore, local: Path) -> None:
    await publish(blobs, local)
    source = new_source()
    release = await only_release(source)
    fetched = await source.fetch(release)
    fetched.release()
    model = fetched.version.path / "model.onnx"
    model.write_bytes(model.read_bytes().replace(b"Flatten", b"flatten"))

    again = await new_source().fetch(release)
    assert load_ready_session(again.version).run(PIXELS)["logits"].tolist() == [[1, 2, 3, 4]]


def rewrite(name: str, change: Callable[[bytes], bytes]) -> Callable[[BlobStore], Awaitable[None]]:
    async def damage(blobs: BlobStore) -> None:
        blob = f"{PREFIX}tiny/1/{name}"
        await blobs.write(blob, change((await blobs.read(blob)).data))

    return damage


def listing(change: Callable[[dict[str, dict[str, object]]], None]) -> Callable[[bytes], bytes]:
    def rewritten(data: bytes) -> bytes:
        manifest = json.loads(data)
        change(manifest["files"])
        return json.dumps(manifest).encode()

    return rewritten


async def drop_model(blobs: BlobStore) -> None:
    await blobs.delete(f"{PREFIX}tiny/1/model.onnx")


DAMAGES: dict[str, tuple[Callable[[BlobStore], Awaitable[None]], str]] = {
    "another sha256": (
        rewrite("model.onnx", lambda data: data.replace(b"Flatten", b"flatten")),
        r"model\.onnx: its sha256 is not the one in manifest\.json",
    ),
    "too short": (rewrite("model.onnx", lambda data: data[:-1]), r"model\.onnx: it has \d+ bytes, manifest\.json says"),
    "too long": (rewrite("model.onnx", lambda data: data + b"x"), r"model\.onnx: it has more than the \d+ bytes"),
    "partial upload": (drop_model, r"model\.onnx: it is missing"),
    "manifest is no JSON": (rewrite("manifest.json", lambda _: b"<html>"), r"manifest\.json: "),
    "manifest is huge": (
        rewrite("manifest.json", lambda data: data + b" " * (1 << 20)),
        r"manifest\.json: it is larger",
    ),
    "manifest lists no model": (
        rewrite("manifest.json", listing(lambda files: files.update({"a.txt": files.pop("model.onnx")}))),
        r"manifest\.json: it lists no model\.onnx",
    ),
    "manifest lists a path": (
        rewrite("manifest.json", listing(lambda files: files.update({"../a": files["model.onnx"]}))),
        r"manifest\.json: ",
    ),
    "model too large for protobuf": (
        rewrite("manifest.json", listing(lambda files: files["model.onnx"].update(bytes=1 << 31))),
        r"model\.onnx: 2147483648 bytes is not a size",
    ),
    "larger than the cache": (
        rewrite(
            "manifest.json",
            listing(lambda files: files.update({"weights.bin": {"sha256": "0" * 64, "bytes": 1 << 40}})),
        ),
        r"its \d+ bytes are more than the model cache may hold",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_version_that_is_not_what_its_manifest_says_is_refused_and_leaves_nothing(
    new_source: NewSource, blobs: BlobStore, local: Path, cache_folder: Path, damage: str
) -> None:
    await publish(blobs, local)
    harm, reason = DAMAGES[damage]
    await harm(blobs)
    source = new_source()

    with pytest.raises(ModelUnavailable, match=f"^tiny:1: {reason}") as refusal:
        await source.fetch(await only_release(source))
    assert str(cache_folder) not in refusal.value.message
    assert entries(cache_folder) == []


async def test_version_published_again_while_it_was_looked_up_is_refused_for_now(
    new_source: NewSource, blobs: BlobStore, local: Path
) -> None:
    await publish(blobs, local)
    source = new_source()
    release = await only_release(source)
    await rewrite("manifest.json", lambda data: data + b"\n")(blobs)

    with pytest.raises(ModelUnavailable, match=r"manifest\.json: it changed since the version was looked up"):
        await source.fetch(release)
    (await source.fetch(await only_release(source))).release()


async def test_version_taken_back_while_it_was_looked_up_is_refused(
    new_source: NewSource, blobs: BlobStore, local: Path
) -> None:
    await publish(blobs, local)
    source = new_source()
    release = await only_release(source)
    await remove_version(blobs, PREFIX, "tiny", "1")

    with pytest.raises(ModelUnavailable, match=r"manifest\.json: it changed since"):
        await source.fetch(release)


class HookedStore(FakeBlobStore):
    """A container in memory whose streams call something before each chunk."""

    def __init__(self, before_chunk: Callable[[], Awaitable[None]]) -> None:
        super().__init__("models")
        self.before_chunk = before_chunk

    async def stream(self, name: str, *, if_match: str | None = None) -> AsyncIterator[bytes]:
        async for chunk in super().stream(name, if_match=if_match):
            await self.before_chunk()
            yield chunk


async def test_storage_that_fails_half_way_leaves_nothing_and_the_next_try_succeeds(
    new_source: NewSource, local: Path, cache_folder: Path
) -> None:
    async def fail() -> None:
        raise StorageUnavailable

    blobs = HookedStore(fail)
    await publish(blobs, local)
    source = new_source(blobs=blobs)
    release = await only_release(source)
    with pytest.raises(StorageUnavailable, match=r"^tiny:1: "):
        await source.fetch(release)
    assert entries(cache_folder) == []

    async def go_on() -> None:
        return

    blobs.before_chunk = go_on
    (await source.fetch(release)).release()


async def test_processes_that_want_one_version_fetch_it_once(new_source: NewSource, local: Path) -> None:
    started, gate, streams = asyncio.Event(), asyncio.Event(), 0

    async def hold() -> None:
        nonlocal streams
        streams += 1
        started.set()
        await gate.wait()

    blobs = HookedStore(hold)
    await publish(blobs, local)
    sources = [new_source(blobs=blobs) for _ in range(3)]
    release = await only_release(sources[0])
    fetches = [asyncio.create_task(source.fetch(release)) for source in sources]
    await started.wait()
    gate.set()
    fetched = await asyncio.gather(*fetches)

    assert streams == 1
    assert len({version.version.path for version in fetched}) == 1


async def test_process_that_died_half_way_does_not_block_the_next(
    new_source: NewSource, blobs: BlobStore, local: Path, cache_folder: Path
) -> None:
    await publish(blobs, local)
    source = new_source()
    release = await only_release(source)
    left = cache_folder / f"partial-{'0' * 64}-10-abcd"
    left.mkdir(parents=True)
    (left / "model.onnx").write_bytes(b"half")
    (await source.fetch(release)).release()

    assert not left.exists()


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let no file of this process grow past `size` bytes: the system then refuses to write, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_full_disk_is_insufficient_storage_leaves_nothing_and_heals(
    new_source: NewSource, local: Path, cache_folder: Path
) -> None:
    blobs = FakeBlobStore("models")
    await publish(blobs, local, weights_bin=os.urandom(1 << 20))
    source = new_source(blobs=blobs)
    release = await only_release(source)

    with file_size_limit(1 << 19), pytest.raises(InsufficientStorage, match=r"^tiny:1: "):
        await source.fetch(release)
    assert entries(cache_folder) == []
    (await source.fetch(release)).release()


async def test_least_recently_used_version_makes_room_and_one_in_use_never_does(
    new_source: NewSource, blobs: BlobStore, local: Path, cache_folder: Path
) -> None:
    for version in ("1", "2", "3", "4"):
        await publish(blobs, local, version=version, weights_bin=os.urandom(1000))
    source = new_source(max_bytes=3000)
    releases = (await source.survey()).find("tiny").releases
    in_use = await source.fetch(releases["1"])
    second = await source.fetch(releases["2"])
    second.release()
    third = await source.fetch(releases["3"])
    assert set(entries(cache_folder)) == {in_use.version.manifest_sha256, third.version.manifest_sha256}

    with pytest.raises(InsufficientStorage, match="full of versions that are in use"):
        await source.fetch(releases["4"])
    third.release()
    fourth = await source.fetch(releases["4"])
    assert set(entries(cache_folder)) == {in_use.version.manifest_sha256, fourth.version.manifest_sha256}


async def test_publishing_uploads_the_manifest_last_and_only_what_is_new(local: Path) -> None:
    storage = FakeStorage()
    blobs = storage.blobs("models")
    folder = write_version(local, pixels_as_logits(), labels=["a", "b", "c", "d"]).path
    written: list[int] = []

    assert await publish_version(folder, blobs, PREFIX, written.append)
    order = [call.name.rpartition("/")[2] for call in storage.calls if "write" in call.method]
    assert order == ["labels.txt", "model.onnx", "manifest.json"]
    assert sum(written) == sum(path.stat().st_size for path in folder.iterdir() if path.name != MANIFEST_NAME)
    storage.calls.clear()
    assert not await publish_version(folder, blobs, PREFIX)
    assert [call.method for call in storage.calls] == ["blobs.read"]


async def test_published_version_is_never_written_over(blobs: BlobStore, local: Path, tmp_path: Path) -> None:
    await publish(blobs, local)
    other = write_version(tmp_path / "other", pixels_as_logits(), labels=["a", "b", "c", "d"])

    with pytest.raises(VersionExists):
        await publish_version(other.path, blobs, PREFIX)
    assert "labels.txt" not in json.loads((await blobs.read(f"{PREFIX}tiny/1/{MANIFEST_NAME}")).data)["files"]


async def test_folder_that_changed_since_its_manifest_is_not_published(blobs: BlobStore, local: Path) -> None:
    version = write_version(local, pixels_as_logits())
    (version.path / "extra.txt").write_text("x")

    with pytest.raises(ModelUnavailable, match=r"extra\.txt: it is not listed"):
        await publish_version(version.path, blobs, PREFIX)
    assert [blob.name async for blob in blobs.list("")] == []


async def test_removing_deletes_the_manifest_first(local: Path) -> None:
    storage = FakeStorage()
    blobs = storage.blobs("models")
    await publish(blobs, local)
    await publish(blobs, local, version="10")
    storage.calls.clear()
    await remove_version(blobs, PREFIX, "tiny", "1")

    deletes = [call.name for call in storage.calls if call.method == "blobs.delete"]
    assert deletes[0] == f"{PREFIX}tiny/1/{MANIFEST_NAME}"
    assert {name.split("/")[3] for name in blobs.contents} == {"10"}
