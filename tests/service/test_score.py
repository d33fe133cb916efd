"""POST /api/score as a user meets it: every body form, every refusal, on the running service."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.service.conftest import SCANS

SEVEN = SCANS / "digit-7-a.png"
THREE = SCANS / "digit-3-b.jpg"


async def post(client: aiohttp.ClientSession, route: str = "score", **request: Any) -> tuple[int, dict[str, Any]]:
    async with client.post(route, **request) as response:
        body: dict[str, Any] = await response.json()
        assert response.headers["x-request-id"]
        if response.status != 200:
            assert body.keys() == {"error", "code", "request_id"}
            assert body["request_id"] == response.headers["x-request-id"]
        return response.status, body


def raw(path: Path, content_type: str) -> dict[str, Any]:
    return {"data": path.read_bytes(), "headers": {"content-type": content_type}}


async def test_a_raw_image_gets_the_reply_of_the_contract(client: aiohttp.ClientSession) -> None:
    status, reply = await post(client, **raw(SEVEN, "image/png"))

    assert status == 200
    assert re.fullmatch("[0-9a-f]{32}", reply["id"])
    assert (reply["model"], reply["version"], reply["task"]) == ("digits", "1", "classification")
    assert reply["image"] == {"width": 96, "height": 96, "format": "PNG"}
    best = reply["predictions"][0]
    assert best["label"] == "7"
    assert 0.5 < best["score"] <= 1
    assert list(reply["timings_ms"]) == ["fetch", "decode", "preprocess", "queue", "run", "postprocess"]
    assert reply["timings_ms"]["fetch"] == 0
    assert reply["timings_ms"]["run"] > 0


@pytest.mark.parametrize("scan", sorted(SCANS.iterdir()), ids=lambda scan: scan.name)
async def test_every_sample_scan_is_read_right(client: aiohttp.ClientSession, scan: Path) -> None:
    status, reply = await post(client, **raw(scan, "application/octet-stream"))

    assert (status, reply["predictions"][0]["label"]) == (200, scan.name.split("-")[1])


async def test_base64_a_form_and_a_model_route_score_the_same(client: aiohttp.ClientSession) -> None:
    _, plain = await post(client, **raw(SEVEN, "image/png"))
    data = base64.b64encode(SEVEN.read_bytes()).decode()
    form = aiohttp.FormData()
    form.add_field("image", SEVEN.read_bytes(), filename="seven.png", content_type="image/png")

    _, from_json = await post(client, json={"data": data, "id": "mine"})
    _, from_form = await post(client, data=form)
    _, from_model = await post(client, "models/digits/score", json={"data": data})
    _, from_version = await post(client, "models/digits/versions/1/score", json={"data": data})

    assert from_json["id"] == "mine"
    for other in (from_json, from_form, from_model, from_version):
        assert other["predictions"] == plain["predictions"]


async def test_parameters_limit_the_predictions(client: aiohttp.ClientSession) -> None:
    data = base64.b64encode(THREE.read_bytes()).decode()

    _, all_of_them = await post(client, json={"data": data, "parameters": {"top_k": 10}})
    _, one = await post(client, json={"data": data, "parameters": {"top_k": 1}})
    _, from_query = await post(client, "score?top_k=1", **raw(THREE, "image/jpeg"))
    _, sure = await post(client, json={"data": data, "parameters": {"top_k": 10, "min_score": 0.5}})

    assert len(all_of_them["predictions"]) == 10
    assert one["predictions"] == from_query["predictions"] == all_of_them["predictions"][:1]
    assert [prediction["label"] for prediction in sure["predictions"]] == ["3"]
    assert sum(prediction["score"] for prediction in all_of_them["predictions"]) == pytest.approx(1)


async def test_inputs_get_a_result_or_an_error_each_in_order(client: aiohttp.ClientSession) -> None:
    good = base64.b64encode(SEVEN.read_bytes()).decode()
    bad = base64.b64encode(b"no image").decode()

    inputs = [{"id": "a", "data": good}, {"data": bad}, {"data": good}, {"data": "no base64!"}]

    status, reply = await post(client, json={"inputs": inputs}, headers={"x-request-id": "r"})

    assert status == 200
    first, second, third, fourth = reply["results"]
    assert (first["id"], first["predictions"][0]["label"]) == ("a", "7")
    assert second == {"id": "1", "error": second["error"], "code": "image_invalid", "request_id": "r"}
    assert (third["id"], third["predictions"]) == ("2", first["predictions"])
    assert fourth == {"id": "3", "error": "data is not base64.", "code": "invalid_request", "request_id": "r"}


REFUSALS = [
    pytest.param("score", {"data": b""}, 400, "invalid_request", id="an empty body"),
    pytest.param("score", {"json": {}}, 400, "invalid_request", id="no image named"),
    pytest.param(
        "score", raw(SCANS.parent.parent / "train_digits.py", "image/png"), 422, "image_invalid", id="not an image"
    ),
    pytest.param(
        "score",
        {"data": b'<svg xmlns="http://www.w3.org/2000/svg"/>', "headers": {"content-type": "image/svg+xml"}},
        422,
        "image_unsupported",
        id="svg",
    ),
    pytest.param(
        "score",
        {"data": SEVEN.read_bytes()[:200], "headers": {"content-type": "image/png"}},
        422,
        "image_invalid",
        id="truncated",
    ),
    pytest.param(
        "score",
        {"data": b"a=b", "headers": {"content-type": "text/plain"}},
        415,
        "unsupported_media_type",
        id="another media type",
    ),
    pytest.param("models/nobody/score", raw(SEVEN, "image/png"), 404, "model_not_found", id="an unknown model"),
    pytest.param("models/No Body/score", raw(SEVEN, "image/png"), 404, "model_not_found", id="an impossible model"),
    pytest.param("models/..%2F..%2Fetc/score", raw(SEVEN, "image/png"), 404, "model_not_found", id="a path as model"),
    pytest.param(
        "models/digits/versions/9/score",
        raw(SEVEN, "image/png"),
        404,
        "model_version_not_found",
        id="an unknown version",
    ),
    pytest.param("score", {"json": {"url": "https://127.0.0.1/a.png"}}, 422, "url_not_allowed", id="a loopback url"),
    pytest.param("score", {"json": {"url": "http://example.com/a.png"}}, 422, "url_not_allowed", id="plain http"),
    pytest.param("score", {"json": {"url": "file:///etc/passwd"}}, 422, "url_not_allowed", id="a file url"),
    pytest.param(
        "score",
        {"json": {"url": "https://169.254.169.254/metadata"}},
        422,
        "url_not_allowed",
        id="the metadata service",
    ),
]


@pytest.mark.parametrize(("route", "request_", "status", "code"), REFUSALS)
async def test_bad_input_gets_its_status_and_code(
    client: aiohttp.ClientSession, route: str, request_: dict[str, Any], status: int, code: str
) -> None:
    answered, body = await post(client, route, **request_)

    assert (answered, body["code"]) == (status, code)


async def test_a_request_id_is_echoed(client: aiohttp.ClientSession) -> None:
    async with client.get("health", headers={"x-request-id": "mine-1"}) as response:
        assert response.headers["x-request-id"] == "mine-1"


@pytest.mark.parametrize("route", ["health", "ready", "v2/health/live", "v2/health/ready"])
async def test_probes_may_ask_without_a_body(client: aiohttp.ClientSession, route: str) -> None:
    async with client.head(route) as response:
        assert (response.status, await response.read()) == (200, b"")
        assert response.headers["x-request-id"]


async def test_what_is_served_is_told(client: aiohttp.ClientSession) -> None:
    async with client.get("models") as response:
        (model,) = [model for model in (await response.json())["models"] if model["name"] == "digits"]
    async with client.get("models/digits") as response:
        assert await response.json() == model
    async with client.get("models/nobody") as response:
        assert (response.status, (await response.json())["code"]) == (404, "model_not_found")
    async with client.get("version") as response:
        version = await response.json()

    assert (model["name"], model["version"], model["state"], model["task"]) == (
        "digits",
        "1",
        "ready",
        "classification",
    )
    assert model["labels"] == [str(digit) for digit in range(10)]
    assert version["models"] == [{"model": "digits", "version": "1", "sha256": model["sha256"]}]
