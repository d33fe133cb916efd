"""How storage that fails, throttles or hangs up looks from above, over a server that does so on command."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from devhost.azurite import ACCOUNT, ACCOUNT_KEY
from inference.errors import ShuttingDown, StorageForbidden, StorageUnavailable
from inference.settings import StorageSettings
from inference.storage import ABSENT, BlobStore, PreconditionFailed
from inference.storage.azure import AzureStorage, retry

MIB = 1024 * 1024

#: The connection is reset when the whole request is in.
HANG_UP = web.Response(status=599)


def account_at(endpoint: str) -> StorageSettings:
    return StorageSettings(
        connection_string=f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};"
        f"BlobEndpoint={endpoint}/{ACCOUNT};QueueEndpoint={endpoint}/{ACCOUNT};"
    )


def failure(status: int, code: str, **headers: str) -> web.Response:
    return web.Response(status=status, headers={"x-ms-error-code": code, **headers})


def created() -> web.Response:
    return web.Response(status=201, headers={"ETag": '"0x1"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"})


@dataclass
class ScriptedStorage:
    """A server that gives the replies it was told to, in order, and remembers the requests."""

    replies: deque[web.Response] = field(default_factory=deque)
    requests: list[str] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    queries: list[Mapping[str, str]] = field(default_factory=list)
    endpoint: str = ""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    answering: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.Response:
        self.lengths.append(len(await request.read()))
        self.queries.append(request.query)
        self.requests.append(f"{request.method} {request.path}")
        self.asked.set()
        await self.answering.wait()
        reply = self.replies.popleft()
        if reply is HANG_UP and request.transport is not None:
            request.transport.abort()
        return reply


@pytest.fixture
async def server() -> AsyncIterator[ScriptedStorage]:
    scripted = ScriptedStorage()
    scripted.answering.set()
    app = web.Application(client_max_size=8 * MIB)
    app.router.add_route("*", "/{path:.*}", scripted.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    scripted.endpoint = f"http://{host}:{port}"
    yield scripted
    await runner.cleanup()


@pytest.fixture
async def blobs(server: ScriptedStorage, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[BlobStore]:
    monkeypatch.setattr(retry, "FIRST_BACKOFF_SECONDS", 0.0)
    async with AzureStorage.connect(account_at(server.endpoint)) as storage:
        yield storage.blobs("results")


@pytest.mark.parametrize(
    "fault",
    [failure(500, "InternalError"), failure(503, "ServerBusy"), failure(408, "OperationTimedOut"), HANG_UP],
    ids=["500", "503", "408", "reset"],
)
async def test_a_passing_fault_is_not_noticed(server: ScriptedStorage, blobs: BlobStore, fault: web.Response) -> None:
    server.replies += [fault, created()]

    assert await blobs.write("a", b"x") == "0x1"

    assert server.requests == ["PUT /devstoreaccount1/results/a"] * 2


async def test_a_lasting_fault_is_reported_after_five_tries(server: ScriptedStorage, blobs: BlobStore) -> None:
    server.replies += [failure(503, "ServerBusy") for _ in range(5)]

    with pytest.raises(StorageUnavailable, match="503"):
        await blobs.write("a", b"x")

    assert len(server.requests) == 5


async def test_a_long_retry_after_is_passed_on_at_once(server: ScriptedStorage, blobs: BlobStore) -> None:
    server.replies.append(failure(503, "ServerBusy", **{"Retry-After": "3600"}))

    with pytest.raises(StorageUnavailable) as raised:
        await blobs.read("a")

    assert raised.value.retry_after_seconds == 3600


async def test_a_refused_identity_is_not_tried_again(server: ScriptedStorage, blobs: BlobStore) -> None:
    server.replies.append(failure(403, "AuthorizationFailure"))

    with pytest.raises(StorageForbidden):
        await blobs.read("a")


async def test_a_create_whose_reply_was_lost_says_that_the_blob_is_there(
    server: ScriptedStorage, blobs: BlobStore
) -> None:
    server.replies += [HANG_UP, failure(409, "BlobAlreadyExists")]

    with pytest.raises(PreconditionFailed):
        await blobs.write("a", b"x", if_match=ABSENT)


@pytest.mark.parametrize(
    ("if_match", "kind"), [("0x1", PreconditionFailed), (ABSENT, PreconditionFailed), (None, StorageUnavailable)]
)
async def test_blocks_that_the_service_threw_away_lose_the_write(
    server: ScriptedStorage, blobs: BlobStore, if_match: str | None, kind: type[Exception]
) -> None:
    server.replies += [created(), created(), failure(400, "InvalidBlockList")]

    with pytest.raises(kind):
        await blobs.write("a", bytes(5 * MIB), if_match=if_match)


async def test_a_long_write_is_sent_again_whole(server: ScriptedStorage, blobs: BlobStore) -> None:
    server.replies += [failure(500, "InternalError"), created(), created(), created()]

    assert await blobs.write("a", bytes(5 * MIB)) == "0x1"

    assert server.lengths[:3] == [4 * MIB, 4 * MIB, MIB]


async def test_a_container_is_made_on_the_first_write_only(server: ScriptedStorage, blobs: BlobStore) -> None:
    server.replies += [failure(404, "ContainerNotFound"), created(), created(), created()]

    await blobs.write("a", b"x")
    await blobs.write("b", b"x")

    assert server.requests == [
        "PUT /devstoreaccount1/results/a",
        "PUT /devstoreaccount1/results",
        "PUT /devstoreaccount1/results/a",
        "PUT /devstoreaccount1/results/b",
    ]


async def test_a_container_that_somebody_else_made_is_as_good(server: ScriptedStorage, blobs: BlobStore) -> None:
    server.replies += [failure(404, "ContainerNotFound"), failure(409, "ContainerAlreadyExists"), created()]

    assert await blobs.write("a", b"x") == "0x1"


async def test_a_container_that_is_being_deleted_is_waited_for_by_the_caller(
    server: ScriptedStorage, blobs: BlobStore
) -> None:
    server.replies += [failure(404, "ContainerNotFound"), failure(409, "ContainerBeingDeleted")]

    with pytest.raises(StorageUnavailable, match="ContainerBeingDeleted"):
        await blobs.write("a", b"x")


async def test_storage_that_is_not_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_BACKOFF_SECONDS", 0.0)
    async with AzureStorage.connect(account_at("http://127.0.0.1:1")) as storage:  # nothing listens there
        with pytest.raises(StorageUnavailable):
            await storage.blobs("results").read("a")
        with pytest.raises(StorageUnavailable):
            await storage.queue("batch-shards").send(b"x")


async def test_a_caller_that_leaves_takes_its_request_along(server: ScriptedStorage, blobs: BlobStore) -> None:
    server.replies += [created(), created()]
    server.answering.clear()
    writing = asyncio.ensure_future(blobs.write("a", b"x"))
    await server.asked.wait()

    writing.cancel()

    with pytest.raises(asyncio.CancelledError):
        await writing
    server.answering.set()
    assert await blobs.write("b", b"x") == "0x1"


async def test_what_is_under_way_when_storage_is_closed_hears_that_the_process_ends(
    server: ScriptedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST_BACKOFF_SECONDS", 0.0)
    server.answering.clear()
    storage = AzureStorage.connect(account_at(server.endpoint))
    writing = asyncio.ensure_future(storage.blobs("results").write("a", b"x"))
    await server.asked.wait()
    await storage.close()

    with pytest.raises(ShuttingDown):
        await writing
    with pytest.raises(ShuttingDown):
        await storage.queue("batch-shards").send(b"x")
    server.answering.set()


async def test_storage_that_is_closed_before_its_first_call_opens_nothing(server: ScriptedStorage) -> None:
    storage = AzureStorage.connect(account_at(server.endpoint))
    await storage.close()

    with pytest.raises(ShuttingDown):
        await storage.blobs("results").read("a")
    assert not server.requests


async def test_calls_leave_no_urls_in_the_logs(
    server: ScriptedStorage, blobs: BlobStore, caplog: pytest.LogCaptureFixture
) -> None:
    server.replies += [failure(503, "ServerBusy"), created()]

    with caplog.at_level(logging.INFO):
        await blobs.write("secret-name", b"x")

    assert "secret-name" not in caplog.text


def listing(*names: str, next_marker: str = "") -> web.Response:
    blobs = "".join(
        f"<Blob>{name}<Properties><Last-Modified>Thu, 01 Jan 2026 00:00:00 GMT</Last-Modified><Etag>0x1</Etag>"
        "<Content-Length>7</Content-Length></Properties><Metadata><rows>3</rows><note /></Metadata></Blob>"
        for name in names
    )
    xml = f"<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>{next_marker}</NextMarker></EnumerationResults>"
    return web.Response(text=xml, content_type="application/xml")


async def test_a_long_listing_is_read_page_by_page(server: ScriptedStorage, blobs: BlobStore) -> None:
    server.replies += [
        listing("<Name>a</Name>", next_marker="2!m&amp;k"),
        failure(503, "ServerBusy"),
        listing('<Name Encoded="true">b%EF%BF%BEc</Name>'),
    ]

    found = [found async for found in blobs.list("")]

    assert [(blob.name, blob.etag, blob.bytes) for blob in found] == [("a", "0x1", 7), ("b\ufffec", "0x1", 7)]
    assert found[0].metadata == {"rows": "3", "note": ""}
    assert server.queries[0].get("marker") is None
    assert [query["marker"] for query in server.queries[1:]] == ["2!m&k"] * 2
    assert {query["include"] for query in server.queries} == {"metadata"}


async def test_a_listing_that_is_not_xml_is_a_fault_of_storage(server: ScriptedStorage, blobs: BlobStore) -> None:
    server.replies.append(web.Response(text="<html>a proxy's page"))

    with pytest.raises(StorageUnavailable):
        [found async for found in blobs.list("")]


async def test_a_shared_access_signature_is_on_every_request(server: ScriptedStorage) -> None:
    server.replies += [listing("<Name>a</Name>"), created(), web.Response(status=201)]
    signed = f"BlobEndpoint={server.endpoint};QueueEndpoint={server.endpoint};SharedAccessSignature=sv=2025&sig=a%2Fb"

    async with AzureStorage.connect(StorageSettings(connection_string=signed)) as storage:
        assert [found.name async for found in storage.blobs("results").list("a/&b")] == ["a"]
        await storage.blobs("results").write("a", b"x")
        await storage.queue("batch-shards").send(b"x", delay_seconds=3)

    assert [query["sig"] for query in server.queries] == ["a/b"] * 3
    assert server.queries[2]["visibilitytimeout"] == "3"
    assert server.queries[0]["prefix"] == "a/&b"


async def test_the_platform_s_proxy_is_gone_through(server: ScriptedStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    server.replies.append(created())
    monkeypatch.setenv("http_proxy", server.endpoint)
    monkeypatch.setenv("no_proxy", "")

    async with AzureStorage.connect(account_at("http://storage.invalid")) as storage:
        assert await storage.blobs("results").write("a", b"x") == "0x1"

    assert server.requests == ["PUT /devstoreaccount1/results/a"]
