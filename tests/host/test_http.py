"""HTTP triggers on a running host: routes, methods, requests as the function sees them, replies byte for byte."""

from __future__ import annotations

import asyncio
import gzip
import random
import socket
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yarl

from devhost.cors import CorsPolicy
from devhost.http_messages import Request, Response
from tests.hosting import HostProcess, write_app

APP = """
import json, logging
import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)

@app.route(route="inspect/{first}/{second:int?}")
def inspect(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    seen = {"method": req.method, "url": req.url, "headers": dict(req.headers), "params": dict(req.params),
            "route": dict(req.route_params), "body": len(req.get_body()),
            "trace": context.trace_context.trace_parent, "state": context.trace_context.trace_state}
    return func.HttpResponse(json.dumps(seen), mimetype="application/json")

@app.route(route="echo", methods=["POST"])
async def echo(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(req.get_body(), mimetype="application/octet-stream")

@app.route(route="models", methods=["GET"])
async def list_models(req: func.HttpRequest) -> str:
    return "list"

@app.route(route="models/{name}", methods=["GET"])
async def show_model(req: func.HttpRequest) -> str:
    return "show " + req.route_params["name"]

@app.route(route="models/{name}", methods=["DELETE"])
async def delete_model(req: func.HttpRequest) -> str:
    return "delete " + req.route_params["name"]

@app.route(route="models/special", methods=["GET"])
async def special_model(req: func.HttpRequest) -> str:
    return "special"

@app.route(route="files/{*path}")
async def files(req: func.HttpRequest) -> str:
    return req.route_params.get("path", "(none)")

@app.route(route="reply", methods=["GET"])
def reply(req: func.HttpRequest) -> func.HttpResponse:
    response = func.HttpResponse("made", status_code=201, headers={"X-Own": "a, b", "Location": "/x"})
    response.headers.add("Set-Cookie", "a=1; Path=/; HttpOnly")
    response.headers.add("Set-Cookie", "b=2; SameSite=Strict")
    return response

@app.route(route="status/{code:int}")
def status(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(status_code=int(req.route_params["code"]))

@app.route(route="broken")
def broken(req: func.HttpRequest) -> str:
    raise ValueError("nobody must see this")

@app.route(route="nothing")
def nothing(req: func.HttpRequest) -> func.HttpResponse:
    return None

@app.route(route="unsendable")
def unsendable(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("x", headers={"X-Bad": "a\\u0000b"})
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    settings = {"FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": str(4 * 1024 * 1024), "AzureWebJobs.files.Disabled": "false"}
    app_dir = write_app(tmp_path_factory.mktemp("http"), APP)
    with HostProcess(app_dir, environment=settings) as running:
        yield running


async def see(client: aiohttp.ClientSession, url: str, **options: Any) -> dict[str, Any]:
    async with client.request(options.pop("method", "GET"), url, **options) as response:
        assert response.status == 200
        seen: dict[str, Any] = await response.json()
        return seen


async def test_a_function_sees_the_request_as_the_real_host_shows_it(
    host: HostProcess, client: aiohttp.ClientSession
) -> None:
    headers = [("X-Twice", "1"), ("X-Twice", "2"), ("Traceparent", "00-" + "a" * 32 + "-" + "b" * 16 + "-01")]
    headers += [("Tracestate", "vendor=x")]

    seen = await see(
        client,
        f"{host.url}/api/inspect/caf%C3%A9%20au%20lait/42?a=1&A=2&empty=&b=%26",
        method="PUT",
        headers=headers,
        data=b"12345",
        skip_auto_headers=["Content-Type"],
    )

    assert seen["method"] == "PUT"
    assert seen["url"] == f"{host.url}/api/inspect/caf%C3%A9%20au%20lait/42?a=1&A=2&empty=&b=%26"
    assert seen["headers"]["x-twice"] == "1,2"
    assert seen["headers"]["host"] == f"127.0.0.1:{host.port}"
    assert seen["params"] == {"a": "1,2", "b": "&"}
    assert seen["route"] == {"first": "café au lait", "second": "42"}
    assert seen["body"] == 5
    assert seen["trace"] == "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    assert seen["state"] == "vendor=x"


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/api/models", 200, "list"),
        ("GET", "/api/models/", 200, "list"),
        ("GET", "/api/x/%2e%2e/models", 200, "list"),
        ("GET", "/API/Models", 200, "list"),
        ("GET", "/api/models/special", 200, "special"),
        ("GET", "/api/models/other", 200, "show other"),
        ("GET", "/api/models/a%2Fb", 200, "show a%2Fb"),
        ("DELETE", "/api/models/special", 200, "delete special"),
        ("POST", "/api/models", 404, ""),
        ("HEAD", "/api/models", 404, ""),
        ("GET", "/api/echo", 404, ""),
        ("GET", "/models", 404, ""),
        ("GET", "/api/", 404, ""),
        ("GET", "/api/nothing/here", 404, ""),
        ("GET", "/api/inspect/a/x", 404, ""),
        ("GET", "/api/files", 200, "(none)"),
        ("GET", "/api/files/a/b%20c/d.txt", 200, "a/b c/d.txt"),
    ],
)
async def test_routes_and_methods_lead_where_asp_net_leads(
    host: HostProcess, client: aiohttp.ClientSession, method: str, path: str, status: int, text: str
) -> None:
    async with client.request(method, yarl.URL(host.url + path, encoded=True)) as response:
        assert (response.status, await response.text()) == (status, text)


@pytest.mark.parametrize("size", [0, 1, 65_535, 3_000_000])
async def test_bodies_come_back_byte_for_byte(host: HostProcess, client: aiohttp.ClientSession, size: int) -> None:
    body = random.Random(size).randbytes(size)

    async with client.post(f"{host.url}/api/echo", data=BytesIO(body)) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/octet-stream"
        assert await response.read() == body


async def test_a_header_that_is_no_utf8_is_refused_as_by_kestrel(host: HostProcess) -> None:
    with socket.create_connection(("127.0.0.1", host.port)) as connection:
        connection.sendall(b"GET /api/talk HTTP/1.1\r\nHost: localhost\r\nx-a: \xff\r\nConnection: close\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


async def test_a_compressed_body_is_passed_on_as_it_came(host: HostProcess, client: aiohttp.ClientSession) -> None:
    body = gzip.compress(b"a" * 1000)

    async with client.post(f"{host.url}/api/echo", data=body, headers={"content-encoding": "gzip"}) as response:
        assert await response.read() == body


async def test_many_bodies_at_once_do_not_mix(host: HostProcess, client: aiohttp.ClientSession) -> None:
    async def echo(number: int) -> bool:
        body = random.Random(number).randbytes(1000 * number + number)
        async with client.post(f"{host.url}/api/echo", data=body) as response:
            return await response.read() == body

    assert all(await asyncio.gather(*(echo(number) for number in range(64))))


async def test_a_body_over_the_limit_is_refused_and_the_limit_itself_is_not(
    host: HostProcess, client: aiohttp.ClientSession
) -> None:
    limit = 4 * 1024 * 1024
    async with client.post(f"{host.url}/api/echo", data=BytesIO(bytes(limit))) as response:
        assert response.status == 200
    async with client.post(f"{host.url}/api/echo", data=BytesIO(bytes(limit + 1)), expect100=True) as response:
        assert (response.status, await response.read()) == (413, b"")


async def test_a_client_that_waits_for_100_continue_gets_it(host: HostProcess, client: aiohttp.ClientSession) -> None:
    async with client.post(f"{host.url}/api/echo", data=BytesIO(b"x" * 2_000_000), expect100=True) as response:
        assert len(await response.read()) == 2_000_000


async def test_a_chunked_body_does_not_reach_the_function_as_on_the_real_host(
    host: HostProcess, client: aiohttp.ClientSession
) -> None:
    async def chunks() -> Any:
        yield b"abc"

    async with client.post(f"{host.url}/api/echo", data=chunks()) as response:
        assert (response.status, await response.read()) == (200, b"")
    host.wait_for_output("without Content-Length is not passed")


async def test_a_reply_keeps_status_headers_and_cookies(host: HostProcess, client: aiohttp.ClientSession) -> None:
    async with client.get(f"{host.url}/api/reply") as response:
        assert (response.status, await response.text()) == (201, "made")
        assert response.headers["X-Own"] == "a, b"
        assert response.headers["Location"] == "/x"
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert response.headers.getall("Set-Cookie") == ["a=1; HttpOnly; Path=/", "b=2; SameSite=Strict"]


@pytest.mark.parametrize("code", [200, 202, 204, 304, 404, 429, 503])
async def test_any_status_is_passed_on(host: HostProcess, client: aiohttp.ClientSession, code: int) -> None:
    async with client.get(f"{host.url}/api/status/{code}") as response:
        assert (response.status, await response.read()) == (code, b"")


@pytest.mark.parametrize("route", ["broken", "nothing", "unsendable"])
async def test_a_function_that_fails_answers_500_without_a_word(
    host: HostProcess, client: aiohttp.ClientSession, route: str
) -> None:
    async with client.get(f"{host.url}/api/{route}") as response:
        assert (response.status, await response.read()) == (500, b"")


async def test_the_console_tells_why_a_function_failed(host: HostProcess, client: aiohttp.ClientSession) -> None:
    async with client.get(f"{host.url}/api/broken"):
        pass
    host.wait_for_output(r"Executed 'Functions\.broken' \(Failed, Id=[0-9a-f-]{36}, Duration=\d+ms\)")
    host.wait_for_output(r'raise ValueError\("nobody must see this"\)')


async def test_slow_clients_share_a_connection_politely(host: HostProcess, client: aiohttp.ClientSession) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", host.port)
    request = b"GET /api/models HTTP/1.1\r\nHost: x\r\n\r\n"
    writer.write(request + request)
    answer = b""
    while answer.count(b"list") < 2:
        answer += await reader.read(4096)
    writer.close()
    await writer.wait_closed()

    assert answer.count(b"HTTP/1.1 200 OK") == 2


def test_an_unreadable_request_line_does_not_stop_the_host(host: HostProcess, tmp_path: Path) -> None:
    with socket.create_connection(("127.0.0.1", host.port)) as connection:
        connection.sendall(b"\x00\x01\x02\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")
    assert host.process.poll() is None


async def _no_body() -> bytes:
    return b""


def test_the_hosts_answer_to_an_origin_takes_the_place_of_the_functions_own() -> None:
    response = Response(headers=[("access-control-allow-origin", "*"), ("X-Own", "kept")])
    request = Request("GET", "/", {"origin": "https://page.example"}, _no_body, has_length=False)

    CorsPolicy(("https://page.example",)).mark(request, response)

    allowed = ("Access-Control-Allow-Origin", "https://page.example")
    assert response.headers == [("X-Own", "kept"), allowed, ("Vary", "Origin")]


async def test_cors_follows_local_settings(client: aiohttp.ClientSession, app_dir: Path) -> None:
    write_app(app_dir, APP, local_settings={"Host": {"CORS": "https://page.example", "CORSCredentials": True}})
    with HostProcess(app_dir) as host:
        wanted = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}
        async with client.options(f"{host.url}/api/echo", headers=wanted) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == "https://page.example"
            assert response.headers["Access-Control-Allow-Methods"] == "POST"
            assert response.headers["Access-Control-Allow-Credentials"] == "true"
        async with client.get(f"{host.url}/api/models", headers={"Origin": "https://page.example"}) as response:
            assert response.headers["Access-Control-Allow-Origin"] == "https://page.example"
        async with client.get(f"{host.url}/api/models", headers={"Origin": "https://evil.example"}) as response:
            assert (response.status, "Access-Control-Allow-Origin" in response.headers) == (200, False)
