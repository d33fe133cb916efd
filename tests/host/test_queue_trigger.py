"""The queue trigger on a running host and real queues: success, failure, poison, leases, concurrency."""

from __future__ import annotations

import json
import uuid
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from tests.host.conftest import Queue
from tests.host.journal import PREAMBLE, Journal
from tests.hosting import HostProcess, eventually, write_app

MakeQueue = Callable[[str], Queue]

APP = (
    PREAMBLE
    + """
def facts(message):
    return {"body": message.get_body().decode(), "id": message.id, "count": message.dequeue_count,
            "receipt": bool(message.pop_receipt), "inserted": message.insertion_time.isoformat(),
            "expires": message.expiration_time.isoformat()}

@app.queue_trigger(arg_name="message", queue_name="%PREFIX%-work", connection="AzureWebJobsStorage")
def work(message: func.QueueMessage) -> None:
    note(name="work", **facts(message))

@app.queue_trigger(arg_name="message", queue_name="%PREFIX%-failing", connection="AzureWebJobsStorage")
def failing(message: func.QueueMessage) -> None:
    note(name="failing", **facts(message))
    raise RuntimeError("this message fails")

@app.queue_trigger(arg_name="message", queue_name="%PREFIX%-flaky", connection="AzureWebJobsStorage")
async def flaky(message: func.QueueMessage) -> None:
    note(name="flaky", **facts(message))
    if message.dequeue_count < 2:
        raise RuntimeError("not yet")

@app.queue_trigger(arg_name="message", queue_name="%PREFIX%-gated", connection="AzureWebJobsStorage")
async def gated(message: func.QueueMessage) -> None:
    note(name="gated", body=message.get_body().decode())
    await gate()

@app.queue_trigger(arg_name="message", queue_name="%PREFIX%-slow", connection="AzureWebJobsStorage")
async def slow(message: func.QueueMessage) -> None:
    note(name="slow", count=message.dequeue_count)
    await asyncio.sleep(6)
    note(name="slow ended")

@app.queue_trigger(arg_name="message", queue_name="%PREFIX%-hanging", connection="AzureWebJobsStorage")
async def hanging(message: func.QueueMessage) -> None:
    note(name="hanging", count=message.dequeue_count)
    if message.dequeue_count == 1:
        await asyncio.sleep(600)

@app.queue_trigger(arg_name="message", queue_name="%PREFIX%-lost-poison", connection="AzureWebJobsStorage")
def lost(message: func.QueueMessage) -> None:
    note(name="lost", **facts(message))
    raise RuntimeError("no way out")
"""
)

QUEUES = {"batchSize": 4, "newBatchThreshold": 0, "maxDequeueCount": 3, "maxPollingInterval": "00:00:00.2"}
#: It is renewed at half time, so that host and storage may be as late as this by half.
LEASE = {"DEVHOST_LEASE_SECONDS": "5"}


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Journal:
    return Journal(tmp_path_factory.mktemp("journal"))


@pytest.fixture(scope="module")
def prefix() -> str:
    return f"q{uuid.uuid4().hex[:10]}"


@pytest.fixture(scope="module")
def host(
    tmp_path_factory: pytest.TempPathFactory, azurite: str, journal: Journal, prefix: str
) -> Iterator[HostProcess]:
    app_dir = write_app(tmp_path_factory.mktemp("queues"), APP, host_json={"extensions": {"queues": QUEUES}})
    settings = {"AzureWebJobsStorage": azurite, "PREFIX": prefix, **LEASE, **journal.setting}
    with HostProcess(app_dir, environment=settings) as running:
        yield running


async def test_a_message_is_run_with_its_facts_and_deleted(
    host: HostProcess, queue: MakeQueue, journal: Journal, prefix: str
) -> None:
    work = queue(f"{prefix}-work")
    await work.create()  # the host polls a queue that is not there, unless another test came first
    await work.send("héllo")

    (entry,) = await journal.wait_for(1, name="work", body="héllo")
    await work.wait_until_empty()
    assert entry["count"] == 1
    assert entry["receipt"] is True
    assert len(entry["id"]) == 36
    assert entry["inserted"] < entry["expires"]
    assert b64encode("héllo".encode()).decode() not in await queue(f"{prefix}-work-poison").peek()


async def test_a_failing_message_is_tried_to_the_limit_and_its_body_goes_to_poison(
    host: HostProcess, queue: MakeQueue, journal: Journal, prefix: str
) -> None:
    failing = queue(f"{prefix}-failing")
    await failing.create()
    await failing.send("doomed")

    (text,) = await queue(f"{prefix}-failing-poison").wait_for_messages(1)
    await failing.wait_until_empty()
    assert b64decode(text) == b"doomed"
    assert [entry["count"] for entry in journal.entries(name="failing")] == [1, 2, 3]
    host.wait_for_output(
        rf"Message has reached MaxDequeueCount of 3\. Moving message to queue '{prefix}-failing-poison'\."
    )


async def test_a_message_that_fails_once_is_run_again_at_once(
    host: HostProcess, queue: MakeQueue, journal: Journal, prefix: str
) -> None:
    flaky = queue(f"{prefix}-flaky")
    await flaky.create()
    await flaky.send("twice")

    first, second = await journal.wait_for(2, name="flaky")
    await flaky.wait_until_empty()
    assert (first["count"], second["count"]) == (1, 2)
    assert first["id"] == second["id"]


async def test_an_undecodable_message_goes_to_poison_as_it_is_without_the_function(
    host: HostProcess, queue: MakeQueue, journal: Journal, prefix: str
) -> None:
    work = queue(f"{prefix}-work")
    await work.create()
    await work.client.send_message("<not base64>")

    assert await queue(f"{prefix}-work-poison").wait_for_messages(1) == ["<not base64>"]
    await work.wait_until_empty()
    assert journal.entries(name="work", body="<not base64>") == []


@pytest.mark.parametrize(
    ("text", "body"),
    [(b64encode(b"wrapped").decode() + "\r\n", "wrapped"), (b64encode(b"[" * 30_000).decode(), "[" * 30_000)],
    ids=["base64 with white space", "JSON too deep to be read"],
)
async def test_a_message_that_the_real_host_can_read_is_run(
    host: HostProcess, queue: MakeQueue, journal: Journal, prefix: str, text: str, body: str
) -> None:
    work = queue(f"{prefix}-work")
    await work.create()
    await work.send(text, encode=False)

    (entry,) = await journal.wait_for(1, name="work", body=body)
    assert entry["count"] == 1


async def test_no_more_messages_run_at_once_than_the_batch_size_and_threshold_allow(
    queue: MakeQueue, azurite: str, unique: str, app_dir: Path, tmp_path: Path
) -> None:
    gated, journal = queue(f"{unique}-gated"), Journal(tmp_path)
    await gated.create()
    for number in range(10):  # before there is a host, which would take the first alone and wait for its end
        await gated.send(str(number))
    write_app(app_dir, APP, host_json={"extensions": {"queues": QUEUES}})

    with HostProcess(app_dir, environment={"AzureWebJobsStorage": azurite, "PREFIX": unique, **journal.setting}):
        # A full batch of four runs; the other six are still visible to anyone, so the host does not hold them.
        await journal.wait_for(4, name="gated")
        assert len(await gated.wait_for_messages(6)) == 6
        assert len(journal.entries(name="gated")) == 4

        journal.open_gate()
        entries = await journal.wait_for(10, name="gated")
        await gated.wait_until_empty()
    assert sorted(entry["body"] for entry in entries) == [str(number) for number in range(10)]


async def test_a_function_that_outlives_the_lease_keeps_its_message(
    host: HostProcess, queue: MakeQueue, journal: Journal, prefix: str
) -> None:
    slow = queue(f"{prefix}-slow")
    await slow.create()
    await slow.send("longer than the lease of five seconds")

    await journal.wait_for(1, name="slow ended")
    await slow.wait_until_empty()
    assert [entry["count"] for entry in journal.entries(name="slow")] == [1]


async def test_a_poison_queue_keeps_what_fails_until_the_lease_ends_and_moves_nothing(
    host: HostProcess, queue: MakeQueue, journal: Journal, prefix: str
) -> None:
    lost = queue(f"{prefix}-lost-poison")
    await lost.create()
    await lost.send("for ever")

    entries = await journal.wait_for(2, name="lost")
    assert [entry["count"] for entry in entries[:2]] == [1, 2]
    assert entries[1]["time"] - entries[0]["time"] > 2  # the lease, less what passed until the first run
    assert await queue(f"{prefix}-lost-poison-poison").count() == 0


async def test_a_message_that_is_received_too_often_is_poisoned_without_the_function(
    queue: MakeQueue, azurite: str, unique: str, app_dir: Path, tmp_path: Path
) -> None:
    failing, journal = queue(f"{unique}-failing"), Journal(tmp_path)
    await failing.create()
    await failing.send("seen too often")
    for _ in range(3):  # three hosts took it and died
        async for message in failing.client.receive_messages(max_messages=1):
            await failing.client.update_message(message, visibility_timeout=0)

    write_app(app_dir, APP, host_json={"extensions": {"queues": QUEUES}})
    with HostProcess(app_dir, environment={"AzureWebJobsStorage": azurite, "PREFIX": unique, **journal.setting}):
        (text,) = await queue(f"{unique}-failing-poison").wait_for_messages(1)
        await failing.wait_until_empty()

    assert b64decode(text) == b"seen too often"
    assert journal.entries() == []


async def test_a_failed_message_waits_for_the_visibility_timeout(
    queue: MakeQueue, azurite: str, unique: str, app_dir: Path, tmp_path: Path
) -> None:
    flaky, journal = queue(f"{unique}-flaky"), Journal(tmp_path)
    await flaky.create()
    await flaky.send("later")
    write_app(app_dir, APP, host_json={"extensions": {"queues": {**QUEUES, "visibilityTimeout": "00:00:01"}}})

    with HostProcess(app_dir, environment={"AzureWebJobsStorage": azurite, "PREFIX": unique, **journal.setting}):
        first, second = await journal.wait_for(2, name="flaky")
        await flaky.wait_until_empty()

    assert second["time"] - first["time"] > 0.5  # at once would be some milliseconds


async def test_without_message_encoding_the_text_is_the_body(
    queue: MakeQueue, azurite: str, unique: str, app_dir: Path, tmp_path: Path
) -> None:
    work, journal = queue(f"{unique}-work"), Journal(tmp_path)
    await work.create()
    await work.send("plain text", encode=False)
    write_app(app_dir, APP, host_json={"extensions": {"queues": {**QUEUES, "messageEncoding": "none"}}})

    with HostProcess(app_dir, environment={"AzureWebJobsStorage": azurite, "PREFIX": unique, **journal.setting}):
        (entry,) = await journal.wait_for(1, name="work")
        await work.wait_until_empty()

    assert entry["body"] == "plain text"


async def test_when_the_host_dies_its_message_waits_for_the_lease_and_is_run_again(
    queue: MakeQueue, azurite: str, unique: str, app_dir: Path, tmp_path: Path
) -> None:
    hanging, journal = queue(f"{unique}-hanging"), Journal(tmp_path)
    await hanging.create()
    await hanging.send("interrupted")
    write_app(app_dir, APP, host_json={"extensions": {"queues": QUEUES}})
    settings = {"AzureWebJobsStorage": azurite, "PREFIX": unique, **LEASE, **journal.setting}
    first = HostProcess(app_dir, environment=settings).start()
    await journal.wait_for(1, name="hanging")
    first.kill()

    with HostProcess(app_dir, environment=settings):
        await journal.wait_for(2, name="hanging")
        await hanging.wait_until_empty()

    first_run, second_run = journal.entries(name="hanging")
    assert (first_run["count"], second_run["count"]) == (1, 2)
    assert second_run["time"] - first_run["time"] > 0.5  # what was left of the lease


OUTPUTS = (
    PREAMBLE
    + """
import typing

@app.route(route="send/{id}", methods=["POST"])
@app.queue_output(arg_name="out", queue_name="%PREFIX%-in", connection="AzureWebJobsStorage")
def send(req: func.HttpRequest, out: func.Out[str]) -> str:
    out.set(req.get_body().decode())
    return "sent"

@app.route(route="many")
@app.queue_output(arg_name="out", queue_name="%PREFIX%-many", connection="AzureWebJobsStorage")
def many(req: func.HttpRequest, out: func.Out[typing.List[str]]) -> str:
    out.set(["a", "b", "c"])
    return "sent"

@app.route(route="nowhere")
@app.queue_output(arg_name="out", queue_name="x", connection="AzureWebJobsStorage")
def nowhere(req: func.HttpRequest, out: func.Out[str]) -> str:
    out.set("a name of one character is refused by Storage")
    return "sent"

@app.queue_trigger(arg_name="message", queue_name="%PREFIX%-in", connection="AzureWebJobsStorage")
@app.blob_output(arg_name="$return", path="%PREFIX%/{name}-{DateTime:yyyy}.txt", connection="AzureWebJobsStorage")
def keep(message: func.QueueMessage) -> bytes:
    return message.get_json()["text"].encode()

@app.route(route="read/{name}")
@app.blob_input(arg_name="blob", path="%PREFIX%/{name}", connection="AzureWebJobsStorage")
def read(req: func.HttpRequest, blob: func.InputStream) -> func.HttpResponse:
    return func.HttpResponse(b"(none)" if blob is None else blob.read())
"""
)


async def test_outputs_of_functions_become_messages_and_blobs_and_inputs_are_read(
    azurite: str,
    queue: MakeQueue,
    client: aiohttp.ClientSession,
    unique: str,
    app_dir: Path,
    tmp_path: Path,
) -> None:
    # A minute between polls: the message below is seen soon because the host enqueues it itself.
    write_app(app_dir, OUTPUTS, host_json={"extensions": {"queues": {"maxPollingInterval": "00:01:00"}}})
    settings = {"AzureWebJobsStorage": azurite, "PREFIX": unique, **Journal(tmp_path).setting}
    with HostProcess(app_dir, environment=settings) as host:
        body = json.dumps({"name": "first", "text": "kept"})
        async with client.post(f"{host.url}/api/send/1", data=body) as response:
            assert (response.status, await response.text()) == (200, "sent")
        async with client.get(f"{host.url}/api/many") as response:
            assert response.status == 200
        async with client.get(f"{host.url}/api/nowhere") as response:
            assert response.status == 500
        texts = await queue(f"{unique}-many").wait_for_messages(3)
        assert sorted(texts) == [b64encode(body).decode() for body in (b"a", b"b", b"c")]

        async def read_copy() -> bytes:
            async with client.get(f"{host.url}/api/read/first-{datetime.now(UTC):%Y}.txt") as response:
                return (await response.read()).replace(b"(none)", b"")

        assert await eventually(read_copy) == b"kept"
