"""Scoring by url on the running service: an origin that is allowed, one that is not, and origins that fail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.hosting import HostProcess
from tests.origins import Origin, Reply
from tests.service.conftest import ROOT, SCANS, environment, ready

SEVEN = (SCANS / "digit-7-a.png").read_bytes()


@asynccontextmanager
async def service_for(azurite: str, origin: Origin) -> AsyncIterator[aiohttp.ClientSession]:
    settings = environment(azurite, INFERENCE_FETCH_ALLOW=f"127.0.0.1/32:{origin.port}", INFERENCE_FETCH_HTTP="true")
    with HostProcess(ROOT, environment=settings) as host:
        async with aiohttp.ClientSession(f"{host.url}/api/") as client:
            await ready(client)
            yield client


async def test_urls_are_fetched_and_failures_of_the_origin_are_told_apart(azurite: str) -> None:
    async with Origin() as origin, service_for(azurite, origin) as client:
        good = origin.serve("/seven.png", SEVEN)
        async with client.post("score", json={"url": good}) as response:
            reply = await response.json()
            assert (response.status, reply["predictions"][0]["label"]) == (200, "7")
            assert reply["timings_ms"]["fetch"] > 0
        async with client.get("score", params={"url": good, "top_k": "1"}) as response:
            assert len((await response.json())["predictions"]) == 1

        failing = {
            origin.url("/missing.png"): (424, "image_not_found"),
            origin.answer("/gone.png", Reply(410)): (424, "image_not_found"),
            origin.answer("/forbidden.png", Reply(403)): (424, "origin_refused"),
            origin.answer("/broken.png", Reply(500)): (424, "origin_unavailable"),
            origin.answer("/busy.png", Reply(429, headers={"Retry-After": "7"})): (424, "origin_throttled"),
            origin.serve("/text.png", b"not an image"): (422, "image_invalid"),
            origin.redirect("/inside.png", "http://169.254.169.254/x.png"): (422, "url_not_allowed"),
            f"http://127.0.0.1:{origin.port + 1}/x.png": (422, "url_not_allowed"),
        }
        for url, expected in failing.items():
            async with client.post("score", json={"url": url}) as response:
                assert (response.status, (await response.json())["code"]) == expected, url

        # One bad url among good ones fails alone.
        async with client.post(
            "score", json={"inputs": [{"url": good}, {"url": origin.url("/missing.png")}]}
        ) as response:
            first, second = (await response.json())["results"]
            assert first["predictions"][0]["label"] == "7"
            assert second["code"] == "image_not_found"


@pytest.mark.parametrize("name", ["INFERENCE_CORES", "OTEL_TRACES_EXPORTER"])
async def test_wrong_settings_are_told_to_the_operator_and_not_to_callers(azurite: str, name: str) -> None:
    with HostProcess(ROOT, environment=environment(azurite, **{name: "rubbish"})) as host:
        async with aiohttp.ClientSession(f"{host.url}/api/") as client, client.post("score", data=SEVEN) as response:
            assert response.status == 503
            assert (await response.json())["code"] == "misconfigured"
        host.wait_for_output(name)
