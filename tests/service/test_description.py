"""The API's description against the running service: each reply has the status and the shape that it promises."""

from __future__ import annotations

import base64
import uuid
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.hosting import eventually
from tests.json_schema import problems
from tests.origins import Origin
from tests.service.conftest import SCANS, ready, serving

SEVEN = (SCANS / "digit-7-a.png").read_bytes()


@dataclass
class DescribedApi:
    """A client that holds every reply against the description of its operation."""

    client: aiohttp.ClientSession
    document: dict[str, Any]
    #: What was called, as (operation id, status).
    seen: set[tuple[str, int]] = field(default_factory=set)

    async def call(self, operation_id: str, path: dict[str, str] | None = None, **request: Any) -> Any:
        route, method, operation = next(
            (route, method, operation)
            for route, methods in self.document["paths"].items()
            for method, operation in methods.items()
            if operation["operationId"] == operation_id
        )
        async with self.client.request(method, route.lstrip("/").format(**path or {}), **request) as response:
            body = await response.read()
            described = operation["responses"][str(response.status)]
            assert response.headers["x-request-id"]
            if "content" not in described:
                assert body == b""
                self.seen.add((operation_id, response.status))
                return None
            media_type = response.headers["content-type"].partition(";")[0]
            schema = described["content"][media_type]["schema"]
            if media_type == "application/json":
                value = await response.json()
                assert list(problems(value, schema, self.document)) == [], operation_id
            else:
                value = body if media_type == "application/octet-stream" else body.decode()
        self.seen.add((operation_id, response.status))
        return value


async def test_every_operation_answers_as_it_is_described(azurite: str) -> None:
    async with Origin() as origin:
        with serving(azurite, origin) as host:
            async with aiohttp.ClientSession(f"{host.url}/api/") as client:
                await ready(client)
                async with client.get("openapi.json") as response:
                    api = DescribedApi(client, await response.json())
                await score(api, origin)
                await run_a_batch(api, origin)
                await look_at_the_service(api)
                await speak_the_protocol(api)

    described = {one["operationId"] for methods in api.document["paths"].values() for one in methods.values()}
    assert {operation for operation, _ in api.seen} == described


async def score(api: DescribedApi, origin: Origin) -> None:
    url, data = origin.serve("/seven.png", SEVEN), base64.b64encode(SEVEN).decode()
    png = {"content-type": "image/png"}
    version = {"model": "digits", "version": "1"}

    await api.call("score", json={"url": url, "parameters": {"top_k": 2}})
    await api.call("score", json={"inputs": [{"id": "a", "data": data}, {"data": "aGk="}]})
    await api.call("score", data=SEVEN, headers=png, params={"min_score": "0.5"})
    await api.call("score", json={})
    await api.call("score", data=b"text", headers={"content-type": "text/plain"})
    await api.call("score", data=b"text", headers=png)
    await api.call("score", json={"url": origin.url("/none.png")})
    await api.call("score_by_url", params={"url": url})
    await api.call("score_by_url")
    for operation in ("score_model", "score_model_version"):
        await api.call(operation, version, data=SEVEN, headers=png)
        await api.call(operation, version | {"model": "nobody"}, data=SEVEN, headers=png)
        await api.call(f"{operation}_by_url", version, params={"url": url})
    assert {status for operation, status in api.seen if operation == "score"} == {200, 400, 415, 422, 424}


async def run_a_batch(api: DescribedApi, origin: Origin) -> None:
    batch = {"batch_id": f"described-{uuid.uuid4().hex[:8]}"}
    lines = f"{origin.serve('/good.png', SEVEN)}\n{origin.url('/missing.png')}\n"
    text = {"content-type": "text/plain"}
    await api.call("submit_batch", data=lines, headers=text, params={**batch, "max_retries": "0"})
    await api.call("submit_batch", data=lines * 2, headers=text, params=batch)  # the id is taken
    await api.call("submit_batch", json={"images": []})
    await api.call("submit_batch", data=b"x", headers={"content-type": "image/png"})

    async def has_ended() -> bool:
        status = await api.call("batch_status", batch)
        return bool(status["state"] == "succeeded")

    await eventually(has_ended)
    nobody = {"batch_id": "nobody"}
    await api.call("list_batches", params={"limit": "5"})
    for wanted in ("jsonl", "csv", "xml"):
        await api.call("batch_results", batch, params={"format": wanted})
    for operation in ("batch_status", "batch_results", "cancel_batch"):
        await api.call(operation, nobody)
    await api.call("cancel_batch", batch)
    letters = await api.call("list_dead_letters", params={**batch, "since": "2026-01-01T00:00:00Z"})
    assert [letter["code"] for letter in letters["deadletters"]] == ["image_not_found"]
    await api.call("list_dead_letters", params={"limit": "none"})
    await api.call("export_dead_letters", params=batch)
    await api.call("replay_dead_letters", json={**batch, "dry_run": True})
    await api.call("replay_dead_letters", json={"surprise": 1})
    await api.call("purge_dead_letters", json=batch)
    assert {status for operation, status in api.seen if operation == "submit_batch"} == {202, 400, 409, 415}


async def look_at_the_service(api: DescribedApi) -> None:
    for operation in ("list_models", "health", "ready", "version", "openapi", "swagger", "docs", "ui"):
        await api.call(operation)
    await api.call("show_model", {"model": "digits"})
    await api.call("show_model", {"model": "nobody"})
    await api.call("reload_model", {"model": "digits"})


async def speak_the_protocol(api: DescribedApi) -> None:
    for operation in ("oip_server", "oip_live", "oip_ready", "oip_statistics", "oip_index"):
        await api.call(operation)
    await api.call("oip_index", json={"ready": "yes"})
    version = {"model": "digits", "version": "1"}
    image = {"name": "input", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(SEVEN).decode()]}
    for whose in ("oip_model", "oip_version"):
        for what in ("", "_ready", "_config", "_statistics"):
            await api.call(whose + what, version)
            await api.call(whose + what, version | {"model": "nobody"})
        await api.call(f"{whose}_infer", version, json={"inputs": [image]})
        binary = {"parameters": {"binary_data_output": True}}
        await api.call(f"{whose}_infer", version, json={"inputs": [image], "id": "a", **binary})
        await api.call(f"{whose}_infer", version, json={"inputs": []})
        await api.call(f"{whose}_infer", version, json={"inputs": [{**image, "data": ["aGk="]}]})
        await api.call(f"{whose}_infer", version, data=b"x", headers={"content-encoding": "br"})
        await api.call(f"{whose}_infer", version | {"model": "nobody"}, json={})
    for verb in ("unload", "load"):
        await api.call(f"oip_{verb}", version)
        await api.call(f"oip_{verb}", {"model": "nobody"})
        await api.call(f"oip_{verb}", version, data=b"no json")
    assert {status for operation, status in api.seen if operation == "oip_model_infer"} == {200, 400, 404, 415, 422}
