"""The life of the host: banner, settings, draining, signals, and starts that are refused."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import psutil
import pytest
from azure.storage.queue.aio import QueueClient

from devhost.azurite import Azurite
from devhost.host import CUT_SHORT_SECONDS
from tests.host.conftest import Queue
from tests.host.journal import PREAMBLE, Journal
from tests.hosting import DEADLINE_SECONDS, HostProcess, eventually, is_alive, write_app

MakeQueue = Callable[[str], Queue]

APP = (
    PREAMBLE
    + """
import logging, signal

@app.route(route="items/{id:int}", methods=["GET", "POST"])
async def items(req: func.HttpRequest) -> str:
    return "x"

@app.route(route="gated")
async def gated(req: func.HttpRequest) -> str:
    note(name="gated")
    await gate()
    return "answered"

@app.route(route="setting/{name}")
def setting(req: func.HttpRequest) -> str:
    return os.environ.get(req.route_params["name"], "(none)")

@app.route(route="talk")
def talk(req: func.HttpRequest) -> str:
    logging.info("an info line")
    logging.debug("a debug line")
    print("a printed line")
    return "x"

if os.environ.get("HANDLES_SIGTERM"):
    signal.signal(signal.SIGTERM, lambda *_: note(name="told to end"))

@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *", run_on_startup=True)
def at_start(timer: func.TimerRequest) -> None:
    note(name="at start", past_due=timer.past_due, next=timer.schedule_status["Next"])

@app.timer_trigger(arg_name="timer", schedule="* * * * * *")
def every_second(timer: func.TimerRequest) -> None:
    note(name="every second")
"""
)

QUEUE_APP = (
    PREAMBLE
    + """
@app.queue_trigger(arg_name="message", queue_name="%PREFIX%-work", connection="AzureWebJobsStorage")
async def work(message: func.QueueMessage) -> None:
    note(name="work")
    await gate()
    note(name="work ended")
"""
)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path)


@pytest.fixture
def host(app_dir: Path, journal: Journal, azurite: str) -> HostProcess:
    write_app(app_dir, APP)
    return HostProcess(app_dir, environment={"AzureWebJobsStorage": azurite, **journal.setting})


def test_the_banner_lists_the_functions_as_func_does(host: HostProcess) -> None:
    with host:
        expected = f"""
Functions:

\tgated: http://localhost:{host.port}/api/gated

\titems: [GET,POST] http://localhost:{host.port}/api/items/{{id:int}}

\tsetting: http://localhost:{host.port}/api/setting/{{name}}

\ttalk: http://localhost:{host.port}/api/talk

\tat_start: timerTrigger

\tevery_second: timerTrigger

For detailed output, run func with --verbose flag.
"""
        assert expected in host.output


def test_only_the_functions_asked_for_are_loaded(app_dir: Path, journal: Journal) -> None:
    write_app(app_dir, APP)
    with HostProcess(app_dir, environment=journal.setting, arguments=["--functions", "items", "talk"]) as host:
        assert re.findall(r"^\t(\w+):", host.output, re.MULTILINE) == ["items", "talk"]


async def test_timers_run_at_start_and_on_schedule(host: HostProcess, journal: Journal) -> None:
    with host:
        (entry,) = await journal.wait_for(1, name="at start")
        await journal.wait_for(2, name="every second")

    assert entry["past_due"] is False
    assert re.match(r"\d{4}-01-01T00:00:00", entry["next"])


async def is_refused(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await writer.wait_closed()
    except (ConnectionRefusedError, ConnectionResetError):  # reset: the listener closed with this one in its queue
        return True
    return False


@contextmanager
def hangup_is(handler: signal.Handlers) -> Iterator[None]:
    """Start processes that take SIGHUP like this, however the tests themselves were started."""
    before = signal.signal(signal.SIGHUP, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_lets_the_request_in_flight_be_answered_and_takes_no_more(
    host: HostProcess, journal: Journal, client: aiohttp.ClientSession, number: int
) -> None:
    with hangup_is(signal.SIG_DFL), host:
        workers = [psutil.Process(pid) for pid in host.worker_pids]
        request = asyncio.create_task(client.get(f"{host.url}/api/gated"))
        await journal.wait_for(1, name="gated")
        host.send_signal(number)
        await asyncio.to_thread(host.wait_for_output, "draining")
        await eventually(lambda: is_refused(host.port))
        journal.open_gate()

        async with await request as response:
            assert (response.status, await response.text()) == (200, "answered")
        assert await asyncio.to_thread(host.wait) == 0
        assert [worker for worker in workers if is_alive(worker)] == []


async def test_a_closed_terminal_ends_no_host_that_nohup_began(
    host: HostProcess, client: aiohttp.ClientSession
) -> None:
    with hangup_is(signal.SIG_IGN), host:
        host.send_signal(signal.SIGHUP)
        async with client.get(f"{host.url}/api/talk") as response:
            assert response.status == 200
        assert "draining" not in host.output


async def test_the_apps_own_sigterm_handler_hears_of_the_end_while_work_is_in_flight(
    app_dir: Path, journal: Journal, client: aiohttp.ClientSession, azurite: str
) -> None:
    settings = {"HANDLES_SIGTERM": "1", "AzureWebJobsStorage": azurite, **journal.setting}
    with HostProcess(write_app(app_dir, APP), environment=settings) as host:
        request = asyncio.create_task(client.get(f"{host.url}/api/gated"))
        await journal.wait_for(1, name="gated")
        host.send_signal()
        await journal.wait_for(1, name="told to end")
        journal.open_gate()

        async with await request as response:
            assert response.status == 200
        assert await asyncio.to_thread(host.wait) == 0


async def test_a_message_in_process_is_finished_before_the_host_ends(
    queue: MakeQueue, azurite: str, unique: str, app_dir: Path, journal: Journal
) -> None:
    work = queue(f"{unique}-work")
    await work.create()
    await work.send("in process")
    write_app(app_dir, QUEUE_APP)
    settings = {"AzureWebJobsStorage": azurite, "PREFIX": unique, **journal.setting}
    with HostProcess(app_dir, environment=settings) as host:
        await journal.wait_for(1, name="work")
        host.send_signal()
        await asyncio.to_thread(host.wait_for_output, "draining")
        journal.open_gate()

        assert await asyncio.to_thread(host.wait) == 0
        assert len(journal.entries(name="work ended")) == 1
        assert await work.count() == 0


async def test_draining_by_the_admin_api_stops_the_queues_and_leaves_http(
    queue: MakeQueue, azurite: str, unique: str, app_dir: Path, journal: Journal, client: aiohttp.ClientSession
) -> None:
    work = queue(f"{unique}-work")
    await work.create()
    await work.send("in process")
    write_app(app_dir, QUEUE_APP)
    settings = {"AzureWebJobsStorage": azurite, "PREFIX": unique, **journal.setting}
    with HostProcess(app_dir, environment=settings) as host:
        await journal.wait_for(1, name="work")

        async def drain_state() -> tuple[str, int]:
            async with client.get(f"{host.url}/admin/host/drain/status") as response:
                status = await response.json()
                return status["state"], status["outstandingInvocations"]

        assert await drain_state() == ("Disabled", 1)
        async with client.post(f"{host.url}/admin/host/drain") as response:
            assert response.status == 202
        assert await drain_state() == ("InProgress", 1)
        journal.open_gate()
        await work.wait_until_empty()

        async def is_drained() -> bool:  # the queue is empty a moment before the host has heard so
            return await drain_state() == ("Completed", 0)

        await eventually(is_drained)
        await work.send("must stay")
        assert await work.wait_for_messages(1)
        assert len(journal.entries(name="work")) == 1


async def test_a_second_signal_ends_the_host_at_once(
    host: HostProcess, journal: Journal, client: aiohttp.ClientSession
) -> None:
    with host:
        request = asyncio.create_task(client.get(f"{host.url}/api/gated"))
        await journal.wait_for(1, name="gated")
        host.send_signal()
        await asyncio.to_thread(host.wait_for_output, "draining")
        host.send_signal()

        assert await asyncio.to_thread(host.wait) == 1
        async with await request as response:
            assert response.status == 500


def test_a_second_signal_waits_for_no_client_that_does_not_read(app_dir: Path, journal: Journal) -> None:
    large = "@app.route('large')\ndef large(req: func.HttpRequest) -> func.HttpResponse:\n"
    write_app(app_dir, f"{PREAMBLE}{large}    return func.HttpResponse(bytes(50_000_000))\n")
    with HostProcess(app_dir, environment=journal.setting).start() as host, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", host.port))
        client.sendall(b"GET /api/large HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(4) == b"HTTP"
        host.send_signal()
        host.wait_for_output("draining")
        host.send_signal()
        signalled = time.monotonic()

        assert host.wait() == 1
        assert time.monotonic() - signalled < CUT_SHORT_SECONDS


def test_a_signal_ends_a_host_whose_app_never_finishes_loading(app_dir: Path) -> None:
    write_app(app_dir, "import time\nprint('loading', flush=True)\ntime.sleep(600)\n")
    with HostProcess(app_dir).launch() as host:
        host.wait_for_output("loading")

        assert host.stop() == 0


def test_workers_end_with_a_host_that_is_killed(host: HostProcess) -> None:
    with host:
        (worker,) = [psutil.Process(pid) for pid in host.worker_pids]
        host.kill()

        assert not is_alive(worker)


async def test_local_settings_reach_the_app_and_the_environment_wins(
    app_dir: Path, journal: Journal, client: aiohttp.ClientSession, azurite: str
) -> None:
    values = {"ONLY_IN_FILE": "file", "IN_BOTH": "file", "AzureWebJobsStorage": azurite}
    write_app(app_dir, APP, local_settings={"IsEncrypted": False, "Values": values})
    with HostProcess(app_dir, environment={"IN_BOTH": "environment", **journal.setting}) as host:

        async def setting(name: str) -> str:
            async with client.get(f"{host.url}/api/setting/{name}") as response:
                return await response.text()

        assert await setting("ONLY_IN_FILE") == "file"
        assert await setting("IN_BOTH") == "environment"
        assert await setting("AZURE_FUNCTIONS_ENVIRONMENT") == "Development"
        assert await setting("FUNCTIONS_WORKER_RUNTIME") == "python"
        assert await setting("WEBSITE_HOSTNAME") == f"localhost:{host.port}"
        expected = "Skipping 'IN_BOTH' from local settings as it's already defined in current environment variables."
        assert expected in host.output
        assert "Skipping 'ONLY_IN_FILE'" not in host.output


async def test_log_lines_and_prints_come_out_with_the_time_in_front(
    host: HostProcess, client: aiohttp.ClientSession
) -> None:
    with host:
        async with client.get(f"{host.url}/api/talk") as response:
            assert response.status == 200
        stamp = r"^\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\] "
        host.wait_for_output(stamp + "an info line$")
        host.wait_for_output(stamp + "a printed line$")
        assert "a debug line" not in host.output


async def test_the_host_goes_on_when_nobody_reads_its_output_any_more(
    app_dir: Path, journal: Journal, client: aiohttp.ClientSession
) -> None:
    write_app(app_dir, PREAMBLE + "@app.route('talk')\ndef talk(req: func.HttpRequest) -> str:\n    print(1 / 0)\n")
    command = [sys.executable, "-m", "devhost", "--script-root", str(app_dir), "--port", "0"]
    reader, writer = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **journal.setting}, stdout=writer, stderr=subprocess.DEVNULL
    )
    os.close(writer)
    with os.fdopen(reader) as output:
        listening = await asyncio.to_thread(lambda: next((line for line in output if "Now listening" in line), ""))
    url = f"http://127.0.0.1:{listening.strip().rpartition(':')[2]}/api/talk"
    try:
        for _ in range(3):
            async with asyncio.timeout(DEADLINE_SECONDS), client.get(url) as response:
                assert response.status == 500
    finally:
        process.terminate()
        code = await process.wait()
    assert code == 0


HTTP = "@app.route(route='{}')\ndef x(req: func.HttpRequest) -> str: ...\n"
QUEUE = "@app.queue_trigger(arg_name='m', queue_name='{}', connection='{}')\ndef x(m: func.QueueMessage) -> None: ...\n"
TIMER = "@app.timer_trigger(arg_name='t', schedule='{}')\ndef x(t: func.TimerRequest) -> None: ...\n"
HUB = "@app.event_hub_message_trigger(arg_name='e', event_hub_name='h', connection='c')\ndef x(e: str) -> None: ...\n"


@pytest.mark.parametrize(
    ("function", "host_json", "sentence"),
    [
        ("", {"extensions": {"queues": {"batchSize": 99}}}, "batchSize must be from 1 to 32, not 99"),
        (HTTP.format("admin/x"), {}, "conflicts with one or more built in routes: 'admin/x'"),
        (HTTP.format("{a"), {}, "a brace is not closed"),
        (QUEUE.format("q", "Missing"), {}, "Storage account connection string 'Missing' does not exist"),
        (QUEUE.format("%NAME%", "AzureWebJobsStorage"), {}, "'%NAME%' does not resolve to a value"),
        (TIMER.format("often"), {}, "'often' was not recognized"),
        (HUB, {}, "knows no binding of type 'eventHubTrigger'"),
    ],
)
def test_an_app_that_the_host_refuses_is_refused_in_a_sentence(
    app_dir: Path, azurite: str, function: str, host_json: dict[str, object], sentence: str
) -> None:
    write_app(app_dir, f"import azure.functions as func\napp = func.FunctionApp()\n{function}", host_json=host_json)
    with HostProcess(app_dir, environment={"AzureWebJobsStorage": azurite}).launch() as host:
        assert host.wait() == 1
        assert sentence in host.output
        assert "Traceback" not in host.output


def test_a_queue_trigger_without_host_storage_is_refused_in_a_sentence(app_dir: Path) -> None:
    function = QUEUE.format("q", "Other")
    write_app(app_dir, f"import azure.functions as func\napp = func.FunctionApp()\n{function}")
    with HostProcess(app_dir, environment={"Other": "UseDevelopmentStorage=true"}).launch() as host:
        assert host.wait() == 1
        assert "Missing value for AzureWebJobsStorage" in host.output


@pytest.mark.parametrize("name", ["FUNCTIONS_WORKER_PROCESS_COUNT", "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"])
@pytest.mark.parametrize("value", ["many", "0", "-1"])
def test_a_setting_that_is_no_number_is_refused_in_a_sentence(app_dir: Path, name: str, value: str) -> None:
    write_app(app_dir, APP)
    with HostProcess(app_dir, environment={name: value}).launch() as host:
        assert host.wait() == 1
        assert f"The app setting {name} must be a positive whole number, not '{value}'." in host.output


def test_a_port_in_use_is_refused_in_a_sentence(app_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        write_app(app_dir, APP)
        host = HostProcess(app_dir, arguments=["--port", str(port)]).launch()

        assert host.wait() == 1
    assert f"Port {port} is unavailable" in host.output


async def test_a_storage_outage_ends_no_listener(
    app_dir: Path, journal: Journal, tmp_path: Path, unique: str, azurite_executable: Path
) -> None:
    write_app(app_dir, QUEUE_APP, host_json={"extensions": {"queues": {"maxPollingInterval": "00:00:00.2"}}})
    journal.open_gate()
    storage = Azurite(tmp_path / "azurite", executable=azurite_executable)
    with storage:
        await lose_and_regain(storage, app_dir, journal, unique)


async def lose_and_regain(storage: Azurite, app_dir: Path, journal: Journal, unique: str) -> None:
    async with QueueClient.from_connection_string(storage.connection_string, f"{unique}-work") as client:
        work = Queue(client)
        await work.create()
        settings = {"AzureWebJobsStorage": storage.connection_string, "PREFIX": unique, **journal.setting}
        with HostProcess(app_dir, environment=settings) as host:
            await work.send("before")
            await journal.wait_for(1, name="work ended")
            await asyncio.to_thread(storage.stop)
            await asyncio.to_thread(host.wait_for_output, f"Polling queue '{unique}-work' failed")
            await asyncio.to_thread(storage.start)
            await work.send("after")
            await journal.wait_for(2, name="work ended")
