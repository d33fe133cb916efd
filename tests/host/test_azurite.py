"""Azurite as the host runs it: on free ports, over a restart, and by itself for UseDevelopmentStorage=true."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from azure.storage.queue import QueueClient

from devhost.azurite import ACCOUNT, BLOB_PORT, QUEUE_PORT, TABLE_PORT, Azurite, find_executable, is_listening
from devhost.errors import ConfigurationError, HostError
from devhost.storage_clients import StorageClients
from tests.host.journal import PREAMBLE, Journal
from tests.hosting import HostProcess, write_app

APP = (
    PREAMBLE
    + """
@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *")
def tick(timer: func.TimerRequest) -> None: ...
"""
)


def test_what_it_acknowledged_is_there_after_a_restart_on_the_same_ports(
    tmp_path: Path, azurite_executable: Path
) -> None:
    storage = Azurite(tmp_path, executable=azurite_executable)
    with storage:
        before = storage.connection_string
        with QueueClient.from_connection_string(before, "kept") as queue:
            queue.create_queue()
            queue.send_message("still here")
    with storage, QueueClient.from_connection_string(storage.connection_string, "kept") as queue:
        assert storage.connection_string == before
        assert [message.content for message in queue.peek_messages()] == ["still here"]


def test_a_connection_string_before_the_start_is_refused(tmp_path: Path, azurite_executable: Path) -> None:
    with pytest.raises(HostError, match="has not started"):
        _ = Azurite(tmp_path, executable=azurite_executable).connection_string


def test_an_end_at_the_start_is_told_with_the_log(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"ended at its start; see .*azurite\.log"):
        Azurite(tmp_path, executable=Path("/bin/false")).start()


def test_a_folder_that_it_cannot_write_is_named(tmp_path: Path) -> None:
    (tmp_path / ".azurite").write_text("")

    with pytest.raises(ConfigurationError, match=r"cannot write into .*\.azurite: File exists\."):
        Azurite(tmp_path / ".azurite", executable=Path("/bin/false")).launch()


def test_a_start_that_is_interrupted_leaves_no_process(
    tmp_path: Path, azurite_executable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: Azurite) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Azurite, "wait_until_ready", interrupt)
    before = {process.pid for process in psutil.Process().children()}

    with pytest.raises(KeyboardInterrupt):
        Azurite(tmp_path, executable=azurite_executable).start()

    assert {process.pid for process in psutil.Process().children()} <= before


def test_a_missing_azurite_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="run `make setup`"):
        find_executable([tmp_path])


@pytest.mark.parametrize("text", ["UseDevelopmentStorage=true", " usedevelopmentstorage=TRUE; "])
async def test_development_storage_is_azurite_on_its_own_ports_in_any_case(text: str) -> None:
    clients = StorageClients({"AzureWebJobsStorage": text})

    try:
        assert clients.queue(None, "q").url == f"http://127.0.0.1:{QUEUE_PORT}/{ACCOUNT}/q"
        assert clients.container(None, "c").url == f"http://127.0.0.1:{BLOB_PORT}/{ACCOUNT}/c"
    finally:
        await clients.close()


async def test_an_azurite_that_somebody_else_started_is_spoken_to_in_a_version_that_it_knows(
    tmp_path: Path, azurite_executable: Path
) -> None:
    plain = tmp_path / "azurite"
    plain.write_text(
        '#!/bin/sh\nfor word; do shift; [ "$word" = --skipApiVersionCheck ] || set -- "$@" "$word"; done\n'
        f'exec "{azurite_executable}" "$@"\n'
    )
    plain.chmod(0o755)

    with Azurite(tmp_path / "data", executable=plain) as storage:
        clients = StorageClients({"AzureWebJobsStorage": storage.connection_string})
        try:
            await clients.queue(None, "messages").create_queue()
            await clients.container(None, "blobs").create_container()
        finally:
            await clients.close()


def test_the_host_starts_azurite_for_development_storage_and_stops_it(
    app_dir: Path, tmp_path: Path, azurite_executable: Path
) -> None:
    if any(is_listening(port) for port in (BLOB_PORT, QUEUE_PORT, TABLE_PORT)):
        pytest.skip("something listens on Azurite's own ports")
    commands = app_dir / "node_modules" / ".bin"
    commands.mkdir(parents=True)
    (commands / "azurite").symlink_to(azurite_executable)
    write_app(app_dir, APP, local_settings={"Values": {"AzureWebJobsStorage": "UseDevelopmentStorage=true"}})

    with HostProcess(app_dir, environment=Journal(tmp_path).setting) as host:
        children = psutil.Process(host.process.pid).children()
        assert is_listening(QUEUE_PORT)
        (storage,) = [child for child in children if "--disableTelemetry" in child.cmdline()]

    assert not storage.is_running()
    assert not is_listening(QUEUE_PORT)
    assert (app_dir / ".azurite").is_dir()
