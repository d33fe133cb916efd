"""Worker processes on a running host: killed, replaced, several, too slow, unable to load the app."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from devhost.host import DRAIN_SECONDS
from tests.host.conftest import Queue
from tests.host.journal import PREAMBLE, Journal
from tests.hosting import DEADLINE_SECONDS, HostProcess, eventually, write_app

MakeQueue = Callable[[str], Queue]

APP = (
    PREAMBLE
    + """
@app.route(route="pid")
async def pid(req: func.HttpRequest) -> str:
    return str(os.getpid())

@app.route(route="gated")
async def gated(req: func.HttpRequest) -> str:
    note(name="gated")
    await gate()
    return str(os.getpid())

@app.route(route="endless")
def endless(req: func.HttpRequest) -> str:
    note(name="endless")
    time.sleep(600)

@app.route(route="leave")
def leave(req: func.HttpRequest) -> str:
    os._exit(7)

@app.route(route="fork-and-leave")
def fork_and_leave(req: func.HttpRequest) -> str:
    if os.fork() == 0:
        while not JOURNAL.with_suffix(".gate").exists():
            time.sleep(0.02)
    os._exit(7)

class Panic(BaseException):
    pass

@app.route(route="raise/{what}")
async def raising(req: func.HttpRequest) -> str:
    if req.route_params["what"] == "panic":
        raise Panic("caf\\udce9")
    raise ValueError("caf\\udce9") if req.route_params["what"] == "surrogate" else asyncio.CancelledError

@app.warm_up_trigger("context")
def warm_up(context) -> None:
    note(name="warm")
"""
)

QUEUE_APP = (
    PREAMBLE
    + """
@app.queue_trigger(arg_name="message", queue_name="%PREFIX%-work", connection="AzureWebJobsStorage")
async def work(message: func.QueueMessage) -> None:
    note(name="work", count=message.dequeue_count)
    if message.dequeue_count == 1:
        await asyncio.sleep(600)

@app.queue_trigger(arg_name="message", queue_name="%PREFIX%-deadly", connection="AzureWebJobsStorage")
def deadly(message: func.QueueMessage) -> None:
    note(name="deadly", count=message.dequeue_count)
    os.kill(os.getpid(), 9)
"""
)


async def get(client: aiohttp.ClientSession, url: str) -> tuple[int, str]:
    async with client.get(url) as response:
        return response.status, await response.text()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
async def test_requests_in_a_worker_that_dies_get_500_and_the_next_worker_serves(
    client: aiohttp.ClientSession, app_dir: Path, tmp_path: Path, number: int
) -> None:
    journal = Journal(tmp_path)
    with HostProcess(write_app(app_dir, APP), environment=journal.setting) as host:
        requests = [asyncio.create_task(get(client, f"{host.url}/api/gated")) for _ in range(3)]
        await journal.wait_for(3, name="gated")
        killed = host.kill_worker(number)

        assert [await request for request in requests] == [(500, "")] * 3
        status, pid = await get(client, f"{host.url}/api/pid")

        assert (status, int(pid)) == (200, host.worker_pids[0])
        assert int(pid) != killed
        assert [entry["pid"] for entry in await journal.wait_for(2, name="warm")] == [killed, int(pid)]
        host.wait_for_output(rf"Pid={killed}\. python exited with code -{int(number)}\.")


async def test_a_worker_that_leaves_a_forked_child_behind_is_replaced_all_the_same(
    client: aiohttp.ClientSession, app_dir: Path, tmp_path: Path
) -> None:
    journal = Journal(tmp_path)
    with HostProcess(write_app(app_dir, APP), environment=journal.setting) as host:
        assert await get(client, f"{host.url}/api/fork-and-leave") == (500, "")
        status, answered_by = await get(client, f"{host.url}/api/pid")
        assert (status, answered_by) == (200, str(host.worker_pids[-1]))
        journal.open_gate()


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("cancelled", r"CancelledError\(\)"),
        ("panic", r"Panic\('caf\\udce9'\)"),
        ("surrogate", r"ValueError: caf\\udce9"),
    ],
)
async def test_whatever_a_function_raises_is_an_answer(
    client: aiohttp.ClientSession, app_dir: Path, tmp_path: Path, what: str, reason: str
) -> None:
    with HostProcess(write_app(app_dir, APP), environment=Journal(tmp_path).setting) as host:
        before = host.worker_pids
        assert await get(client, f"{host.url}/api/raise/{what}") == (500, "")
        host.wait_for_output(reason)
        assert host.worker_pids == before


async def test_other_workers_go_on_while_one_is_replaced(
    client: aiohttp.ClientSession, app_dir: Path, tmp_path: Path
) -> None:
    journal = Journal(tmp_path)
    settings = {"FUNCTIONS_WORKER_PROCESS_COUNT": "2", **journal.setting}
    with HostProcess(write_app(app_dir, APP), environment=settings) as host:
        warm = {entry["pid"] for entry in await journal.wait_for(2, name="warm")}
        assert warm == set(host.worker_pids)
        requests = [asyncio.create_task(get(client, f"{host.url}/api/gated")) for _ in range(8)]
        entries = await journal.wait_for(8, name="gated")
        assert {entry["pid"] for entry in entries} == warm  # spread over both

        killed = host.kill_worker()
        ended, _ = await asyncio.wait(requests, timeout=DEADLINE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        assert ended
        journal.open_gate()
        answers = [await request for request in requests]

        survivor = (warm - {killed}).pop()
        assert sorted(answers) == sorted([(200, str(survivor))] * 4 + [(500, "")] * 4)
        await journal.wait_for(3, name="warm")
        assert len(host.worker_pids) == 2


async def test_a_worker_that_ends_again_and_again_is_started_again_and_again(
    client: aiohttp.ClientSession, app_dir: Path, tmp_path: Path
) -> None:
    with HostProcess(write_app(app_dir, APP), environment=Journal(tmp_path).setting) as host:
        for _ in range(2):
            assert (await get(client, f"{host.url}/api/leave"))[0] == 500
        assert (await get(client, f"{host.url}/api/pid"))[0] == 200
        host.wait_for_output("python exited with code 7")


async def test_a_function_that_outlives_its_timeout_fails_and_its_worker_is_replaced(
    client: aiohttp.ClientSession, app_dir: Path, tmp_path: Path
) -> None:
    write_app(app_dir, APP, host_json={"functionTimeout": "00:00:01"})
    with HostProcess(app_dir, environment=Journal(tmp_path).setting) as host:
        before = host.worker_pids
        assert await get(client, f"{host.url}/api/endless") == (500, "")
        assert (await get(client, f"{host.url}/api/pid"))[0] == 200
        assert host.worker_pids != before
        host.wait_for_output("Timeout value of 1 s was exceeded")


async def test_a_message_whose_worker_died_is_run_again_at_once(
    queue: MakeQueue, azurite: str, unique: str, app_dir: Path, tmp_path: Path
) -> None:
    work, journal = queue(f"{unique}-work"), Journal(tmp_path)
    await work.create()
    await work.send("survives")
    write_app(app_dir, QUEUE_APP, host_json={"extensions": {"queues": {"maxPollingInterval": "00:00:00.2"}}})
    settings = {"AzureWebJobsStorage": azurite, "PREFIX": unique, **journal.setting}

    with HostProcess(app_dir, environment=settings) as host:
        await journal.wait_for(1, name="work")
        host.kill_worker()
        await journal.wait_for(2, name="work")
        await work.wait_until_empty()

    assert [entry["count"] for entry in journal.entries(name="work")] == [1, 2]


async def test_a_message_that_kills_every_worker_ends_in_poison(
    queue: MakeQueue, azurite: str, unique: str, app_dir: Path, tmp_path: Path
) -> None:
    deadly, journal = queue(f"{unique}-deadly"), Journal(tmp_path)
    await deadly.create()
    await deadly.send("kills")
    queues = {"maxDequeueCount": 2, "maxPollingInterval": "00:00:00.2"}
    write_app(app_dir, QUEUE_APP, host_json={"extensions": {"queues": queues}})
    settings = {"AzureWebJobsStorage": azurite, "PREFIX": unique, **journal.setting}

    with HostProcess(app_dir, environment=settings):
        await queue(f"{unique}-deadly-poison").wait_for_messages(1)
        await deadly.wait_until_empty()

    assert [entry["count"] for entry in journal.entries(name="deadly")] == [1, 2]


async def test_an_app_that_cannot_be_loaded_again_is_reported_and_holds_up_no_end(
    client: aiohttp.ClientSession, app_dir: Path, tmp_path: Path
) -> None:
    with HostProcess(write_app(app_dir, APP), environment=Journal(tmp_path).setting) as host:
        write_app(app_dir, "raise ValueError('changed meanwhile')")
        assert await get(client, f"{host.url}/api/leave") == (500, "")
        host.wait_for_output(r"could not be loaded: ValueError\('changed meanwhile'\)\nTraceback")
        waiting = asyncio.create_task(get(client, f"{host.url}/api/pid"))

        async def is_waiting() -> bool:
            return '"outstandingInvocations": 1' in (await get(client, f"{host.url}/admin/host/drain/status"))[1]

        await eventually(is_waiting)
        started = time.monotonic()
        assert await asyncio.to_thread(host.stop) == 0
        assert await waiting == (503, "Function host is not running.")
        assert time.monotonic() - started < DRAIN_SECONDS


async def test_an_app_that_cannot_be_imported_is_reported_and_answers_503(
    client: aiohttp.ClientSession, app_dir: Path
) -> None:
    write_app(app_dir, "import azure.functions as func\nraise KeyError('no such thing')\n")
    with HostProcess(app_dir) as host:
        assert await get(client, f"{host.url}/api/anything") == (503, "Function host is not running.")
        async with client.get(f"{host.url}/admin/host/status") as response:
            status = await response.json()
        assert status["state"] == "Error"
        assert "no such thing" in status["errors"][0]
        assert "raise KeyError('no such thing')" in host.output
        assert host.stop() == 0


async def test_an_app_that_kills_its_worker_at_import_is_reported_too(
    client: aiohttp.ClientSession, app_dir: Path
) -> None:
    write_app(app_dir, "import os\nos._exit(139)\n")
    with HostProcess(app_dir) as host:
        assert (await get(client, f"{host.url}/api/anything"))[0] == 503
        host.wait_for_output("python exited with code 139")
