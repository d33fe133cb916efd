"""Images of the app's own account: read by its identity, and only for batches."""

import asyncio

import pytest

from inference.batch.account import Account
from inference.batch.account_images import AccountFetcher
from inference.errors import (
    ImageNotFound,
    ImageTooLarge,
    InferenceError,
    OriginRefused,
    OriginUnavailable,
    StorageForbidden,
    StorageUnavailable,
    UrlNotAllowed,
)
from inference.storage import BlobForbidden, BlobUnreadable, PreconditionFailed
from tests.fakes import Call, FakeClock, FakeStorage

BLOBS = "https://account.blob.core.windows.net"


class Web:
    """Answers with the url, so that a test sees what was left to the guarded fetcher."""

    async def fetch(self, url: str, *, deadline_seconds: float | None = None) -> bytes:
        return url.encode()


@pytest.fixture
async def fetcher() -> AccountFetcher:
    storage = FakeStorage(FakeClock())
    await storage.blobs("photos").write("a b/cat.png", b"pixels")
    await storage.blobs("photos").write("large.png", b"x" * 11)
    await storage.blobs("azure-webjobs-secrets").write("host.json", b"key")
    return AccountFetcher(Web(), Account(BLOBS, storage.blobs), max_image_bytes=10)


async def test_a_blob_is_read_by_its_percent_encoded_url(fetcher: AccountFetcher) -> None:
    assert await fetcher.fetch(f"{BLOBS}/photos/a%20b/cat.png") == b"pixels"


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example/cat.png",
        f"{BLOBS}.evil.example/photos/cat.png",
        f"{BLOBS}/photos/cat.png?sig=own-right",
        f"{BLOBS.replace('https', 'http')}/photos/cat.png",
    ],
)
async def test_every_other_url_goes_to_the_guarded_fetcher(fetcher: AccountFetcher, url: str) -> None:
    assert await fetcher.fetch(url) == url.encode()


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("azure-webjobs-secrets/host.json", UrlNotAllowed),
        ("azure-webjobs-hosts/locks", UrlNotAllowed),
        ("$web/index.html", UrlNotAllowed),
        # A client would take these for steps, and end up in the container that follows.
        ("./azure-webjobs-secrets/host.json", UrlNotAllowed),
        ("../azure-webjobs-secrets/host.json", UrlNotAllowed),
        ("%2e/azure-webjobs-secrets/host.json", UrlNotAllowed),
        ("/azure-webjobs-secrets/host.json", UrlNotAllowed),
        ("My_Photos/cat.png", UrlNotAllowed),
        ("photos", UrlNotAllowed),
        ("photos/", UrlNotAllowed),
        ("photos/none.png", ImageNotFound),
        ("photos/../azure-webjobs-secrets/host.json", ImageNotFound),
        ("photos/%2e%2e/azure-webjobs-secrets/host.json", ImageNotFound),
        ("photos/large.png", ImageTooLarge),
    ],
)
async def test_what_is_no_image_of_the_user_s_is_refused(
    fetcher: AccountFetcher, path: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await fetcher.fetch(f"{BLOBS}/{path}")


async def test_a_blob_that_the_service_never_hands_out_is_refused_for_good() -> None:
    storage = FakeStorage(FakeClock())
    await storage.blobs("photos").write("cat.png", b"pixels")
    fetcher = AccountFetcher(Web(), Account(BLOBS, storage.blobs), max_image_bytes=10)

    def archived(call: Call) -> None:
        raise BlobUnreadable("storage answered 409 (BlobArchived)")

    storage.before_call = archived

    with pytest.raises(OriginRefused, match="BlobArchived"):
        await fetcher.fetch(f"{BLOBS}/photos/cat.png")


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (BlobForbidden("storage answered 403 (AuthorizationPermissionMismatch)"), OriginUnavailable),
        (StorageForbidden("there is no Azure login to reach storage with"), StorageForbidden),
    ],
)
async def test_a_blob_that_no_role_opens_is_charged_and_a_login_that_fails_is_not(
    refusal: StorageForbidden, error: type[InferenceError]
) -> None:
    storage = FakeStorage(FakeClock())

    def refuse(_call: Call) -> None:
        raise refusal

    storage.before_call = refuse

    with pytest.raises(InferenceError) as raised:
        await AccountFetcher(Web(), Account(BLOBS, storage.blobs), max_image_bytes=10).fetch(f"{BLOBS}/photos/cat.png")

    assert type(raised.value) is error
    assert raised.value.retryable


async def test_an_image_is_one_call_to_storage() -> None:
    storage = FakeStorage(FakeClock())
    await storage.blobs("photos").write("cat.png", b"x" * 10)
    storage.restart()

    await AccountFetcher(Web(), Account(BLOBS, storage.blobs), max_image_bytes=10).fetch(f"{BLOBS}/photos/cat.png")

    assert len(storage.calls) == 1


async def test_an_image_that_is_written_while_it_is_read_is_read_again_later() -> None:
    storage = FakeStorage(FakeClock())
    await storage.blobs("photos").write("cat.png", b"pixels")

    def written(_call: Call) -> None:
        raise PreconditionFailed("storage answered 412 (ConditionNotMet)")

    storage.before_call = written

    with pytest.raises(StorageUnavailable):
        await AccountFetcher(Web(), Account(BLOBS, storage.blobs), max_image_bytes=10).fetch(f"{BLOBS}/photos/cat.png")


async def test_storage_that_does_not_answer_in_time_is_no_fault_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = FakeStorage(FakeClock())
    store = storage.blobs("photos")

    async def never(*_arguments: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(store, "read_range", never)
    fetcher = AccountFetcher(Web(), Account(BLOBS, lambda _container: store), max_image_bytes=10)

    with pytest.raises(StorageUnavailable):
        await fetcher.fetch(f"{BLOBS}/photos/cat.png", deadline_seconds=0.01)
