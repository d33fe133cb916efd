"""Keys and the admin API on a running host."""

from __future__ import annotations

import json
from collections.abc import Iterator

import aiohttp
import pytest

from devhost.functions import read_functions
from tests.hosting import HostProcess, write_app

APP = """
import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)

@app.route(route="open", auth_level=func.AuthLevel.ANONYMOUS)
async def anonymous(req: func.HttpRequest) -> str:
    return "ok"

@app.route(route="keyed")
async def keyed(req: func.HttpRequest) -> str:
    return "ok"

@app.route(route="owner", auth_level=func.AuthLevel.ADMIN)
async def owner(req: func.HttpRequest) -> str:
    print("invoked with " + req.get_body().decode())
    return "ok"

@app.route(route="off", auth_level=func.AuthLevel.ANONYMOUS)
async def off(req: func.HttpRequest) -> str:
    return "ok"

@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *")
def tick(timer: func.TimerRequest) -> None:
    print("ticked, past due:", timer.past_due)
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, azurite: str) -> Iterator[HostProcess]:
    app_dir = write_app(tmp_path_factory.mktemp("admin"), APP)
    settings = {"AzureWebJobs.off.Disabled": "1", "AzureWebJobsStorage": azurite}
    with HostProcess(app_dir, environment=settings, arguments=["--enable-auth"]) as running:
        yield running


@pytest.fixture(scope="module")
def keys(host: HostProcess) -> dict[str, str | None]:
    folder = host.app_dir / ".devhost" / "secrets"
    host_keys = json.loads((folder / "host.json").read_text())
    return {
        "none": None,
        "wrong": "wrong",
        "host": host_keys["functionKeys"][0]["value"],
        "master": host_keys["masterKey"]["value"],
        "own": json.loads((folder / "keyed.json").read_text())["keys"][0]["value"],
        "other": json.loads((folder / "owner.json").read_text())["keys"][0]["value"],
    }


@pytest.mark.parametrize("place", ["header", "code", "Code"])
@pytest.mark.parametrize(
    ("route", "key", "status"),
    [
        ("open", "none", 200),
        ("open", "wrong", 200),
        ("keyed", "none", 401),
        ("keyed", "wrong", 401),
        ("keyed", "other", 401),
        ("keyed", "own", 200),
        ("keyed", "host", 200),
        ("keyed", "master", 200),
        ("owner", "host", 401),
        ("owner", "other", 401),
        ("owner", "master", 200),
        ("off", "none", 404),
    ],
)
async def test_a_key_opens_a_function_by_its_level(
    host: HostProcess,
    keys: dict[str, str | None],
    client: aiohttp.ClientSession,
    route: str,
    key: str,
    status: int,
    place: str,
) -> None:
    value = keys[key]
    headers = {"x-functions-key": value} if value and place == "header" else {}
    params = {place: value} if value and place != "header" else {}

    async with client.get(f"{host.url}/api/{route}", headers=headers, params=params) as response:
        assert (response.status, await response.text()) == (status, "ok" if status == 200 else "")


@pytest.mark.parametrize(
    "path", ["/admin/host/status", "/admin/functions", "/admin/functions/keyed", "/admin/host/drain/status"]
)
@pytest.mark.parametrize(("key", "status"), [("none", 401), ("host", 401), ("own", 401), ("master", 200)])
async def test_the_admin_api_opens_to_the_master_key_alone(
    host: HostProcess, keys: dict[str, str | None], client: aiohttp.ClientSession, path: str, key: str, status: int
) -> None:
    value = keys[key]
    headers = {"x-functions-key": value} if value else {}

    async with client.get(host.url + path, headers=headers) as response:
        assert response.status == status


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/admin/host/ping", 200),
        ("POST", "/admin/host/ping", 200),
        ("GET", "/", 200),
        ("GET", "/admin/nothing", 404),
        ("GET", "/admin/functions/nothing", 404),
        ("DELETE", "/admin/functions/keyed", 404),
    ],
)
async def test_ping_and_the_landing_page_need_no_key(
    host: HostProcess, client: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    async with client.request(method, host.url + path) as response:
        assert response.status == status


async def test_status_and_functions_tell_what_the_host_runs(
    host: HostProcess, keys: dict[str, str | None], client: aiohttp.ClientSession
) -> None:
    headers = {"x-functions-key": keys["master"] or ""}
    async with client.get(f"{host.url}/admin/host/status", headers=headers) as response:
        status = await response.json()
    async with client.get(f"{host.url}/admin/functions", headers=headers) as response:
        functions = {function["name"]: function for function in await response.json()}
    async with client.get(f"{host.url}/admin/host/processes", headers=headers) as response:
        processes = (await response.json())["processes"]

    assert (status["state"], "errors" in status) == ("Running", False)
    assert set(functions) == {"anonymous", "keyed", "owner", "off", "tick"}
    assert functions["off"]["isDisabled"] is True
    assert functions["keyed"]["invoke_url_template"] == f"{host.url}/api/keyed"
    assert functions["tick"]["invoke_url_template"] is None
    assert functions["tick"]["config"]["bindings"][0]["schedule"] == "0 0 0 1 1 *"
    assert [process["processId"] for process in processes] == [host.process.pid, *host.worker_pids]


@pytest.mark.parametrize(
    ("name", "document", "printed"),
    [
        ("tick", {"input": ""}, "ticked, past due: False"),
        ("tick", {}, "ticked, past due: False"),
        ("owner", {"input": "something"}, "invoked with something"),
        ("owner", {"input": {"a": 1}}, 'invoked with {"a": 1}'),
    ],
)
async def test_a_function_invoked_by_the_admin_api_runs_in_the_background(
    host: HostProcess,
    keys: dict[str, str | None],
    client: aiohttp.ClientSession,
    name: str,
    document: dict[str, object],
    printed: str,
) -> None:
    headers = {"x-functions-key": keys["master"] or ""}
    async with client.post(f"{host.url}/admin/functions/{name}", json=document, headers=headers) as response:
        assert (response.status, await response.read()) == (202, b"")
    host.wait_for_output(printed)


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b"[" * 100_000])
async def test_an_invocation_without_a_json_object_is_a_bad_request(
    host: HostProcess, keys: dict[str, str | None], client: aiohttp.ClientSession, body: bytes
) -> None:
    headers = {"x-functions-key": keys["master"] or ""}
    async with client.post(f"{host.url}/admin/functions/tick", data=body, headers=headers) as response:
        assert response.status == 400


@pytest.mark.parametrize(
    ("setting", "value", "is_disabled"),
    [
        ("AzureWebJobs.Tick.Disabled", "1", True),
        ("AzureWebJobs.TICK.disabled", "True", True),
        ("AzureWebJobs_Tick_Disabled", "true", True),
        ("AzureWebJobs.Tick.Disabled", "yes", False),
        ("AzureWebJobs.Tock.Disabled", "1", False),
    ],
)
def test_a_function_is_disabled_by_a_setting_as_dotnet_and_a_shell_write_it(
    setting: str, value: str, is_disabled: bool
) -> None:
    trigger = json.dumps({"type": "timerTrigger", "name": "t", "direction": "IN", "schedule": "0 0 * * * *"})
    metadata = [{"name": "Tick", "id": "1", "bindings": [trigger]}]

    assert [function.is_disabled for function in read_functions(metadata, {setting: value})] == [is_disabled]
