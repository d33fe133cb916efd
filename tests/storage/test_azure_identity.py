"""How storage looks from above while no token can be had, over an endpoint for tokens that errs on command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from inference.errors import StorageForbidden, StorageUnavailable
from inference.settings import StorageSettings
from inference.storage import BlobStore
from inference.storage.azure import AzureStorage, login, retry

#: Nothing is ever sent to it: there is no token to send.
IDENTITY = StorageSettings(account_name="photos", credential="managedidentity", client_id="an-id")


@dataclass
class TokenEndpoint:
    """The platform's endpoint for the tokens of managed identities; it gives none."""

    status: int = 500
    content_type: str = "application/json"
    text: str = '{"statusCode": 0, "message": "no token"}'
    requests: int = 0
    answering: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, _request: web.Request) -> web.Response:
        self.requests += 1
        await self.answering.wait()
        return web.Response(status=self.status, content_type=self.content_type, text=self.text)


@pytest.fixture
async def tokens(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TokenEndpoint]:
    endpoint = TokenEndpoint()
    endpoint.answering.set()
    app = web.Application()
    app.router.add_get("/msi/token", endpoint.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://{host}:{port}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "secret")
    yield endpoint
    endpoint.answering.set()
    await runner.cleanup()


async def _list(blobs: BlobStore) -> None:
    async for _ in blobs.list(""):
        pass


@pytest.mark.parametrize(
    "ask",
    [lambda blobs: blobs.read("a"), lambda blobs: blobs.properties("a"), lambda blobs: blobs.write("a", b""), _list],
    ids=["read", "properties", "write", "list"],
)
@pytest.mark.parametrize("status", [400, 403, 404, 409, 412])
async def test_what_the_endpoint_for_tokens_answers_is_not_taken_for_storage_s_word_on_a_blob(
    tokens: TokenEndpoint, ask: Callable[[BlobStore], Awaitable[object]], status: int
) -> None:
    tokens.status = status

    async with AzureStorage.connect(IDENTITY) as storage:
        with pytest.raises(StorageForbidden):
            await ask(storage.blobs("results"))

    assert tokens.requests == 1  # whoever asks for a token tries again where that can help


async def test_a_page_in_the_place_of_a_token_is_no_missing_blob_either(tokens: TokenEndpoint) -> None:
    tokens.status, tokens.content_type, tokens.text = 404, "text/html", "<html>Not Found"

    async with AzureStorage.connect(IDENTITY) as storage:
        with pytest.raises(StorageForbidden):
            await storage.blobs("results").read("a")
        with pytest.raises(StorageForbidden):
            await storage.queue("batch-shards").send(b"x")


async def test_an_endpoint_for_tokens_that_never_answers_is_waited_for_once(
    tokens: TokenEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login, "TOKEN_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(login, "FAILURE_SECONDS", 60.0)
    tokens.answering.clear()

    async with AzureStorage.connect(IDENTITY) as storage:
        blobs = storage.blobs("results")
        outcomes = await asyncio.gather(*(blobs.read("a") for _ in range(10)), return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [StorageForbidden] * 10
    assert tokens.requests <= 1  # none where the machine took that long to send it


async def test_a_token_is_asked_for_again_after_a_failure(
    tokens: TokenEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login, "FAILURE_SECONDS", 0.0)
    tokens.status = 400

    async with AzureStorage.connect(IDENTITY) as storage:
        for _ in range(2):
            with pytest.raises(StorageForbidden):
                await storage.blobs("results").read("a")

    assert tokens.requests == 2


async def test_a_token_that_is_had_is_asked_for_once(tokens: TokenEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_BACKOFF_SECONDS", 0.0)
    tokens.status = 200
    tokens.text = '{"access_token": "t", "expires_on": "4102444800", "resource": "https://storage.azure.com"}'
    nobody = StorageSettings(blob_service_uri="https://127.0.0.1:1", credential="managedidentity")

    async with AzureStorage.connect(nobody) as storage:
        for _ in range(2):
            with pytest.raises(StorageUnavailable):  # so it got past the login
                await storage.blobs("results").read("a")

    assert tokens.requests == 1
