"""Texts, detectors, tensors and a model's own score.py on the running service, by request and in a batch."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from inference.models.manifest import write_manifest
from tests.hosting import DEADLINE_SECONDS, HostProcess
from tests.origins import Origin
from tests.service.conftest import ROOT, SCANS, environment, ready
from tests.service.test_score import post

TEXTS = ROOT / "samples" / "texts" / "claims"
AUTO, HOME = (TEXTS / "auto-a.txt").read_text(), (TEXTS / "home-a.txt").read_text()
SEVEN = SCANS / "digit-7-a.png"

SCRIPT = """
import json

def init():
    global calls
    calls = 0

def run(raw_data):
    global calls
    calls += 1
    return {"total": sum(json.loads(raw_data)["data"])}
"""


def detector() -> bytes:
    """A detector that finds the same two boxes on every image of 8 x 8: a graph of constants beside its input."""
    boxes = np.array([[[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]]], np.float32)
    scores = np.array([[[0.9, 0.1], [0.1, 0.6]]], np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
            helper.make_node("Add", ["found", "zero"], ["boxes"]),
            helper.make_node("Add", ["sure", "zero"], ["scores"]),
        ],
        "detector",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 2, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2, 2]),
        ],
        [
            numpy_helper.from_array(boxes, "found"),
            numpy_helper.from_array(scores, "sure"),
            numpy_helper.from_array(np.zeros((), np.float32), "nothing"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def publish(folder: Path, **files: bytes) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_bytes(content)
    write_manifest(folder)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    shutil.copytree(ROOT / "samples" / "models", folder, dirs_exist_ok=True)
    detection = b"[input]\nresize = 'stretch'\n[detection]\ndecoder = 'boxes-scores'\n"
    publish(folder / "boxes" / "1", model_onnx=detector(), model_toml=detection, labels_txt=b"cat\ndog\n")
    publish(folder / "numbers" / "1", model_onnx=detector(), model_toml=b"task = 'tensor'")
    publish(folder / "scripted" / "1", score_py=SCRIPT.encode())
    return folder


@pytest.fixture
async def api(azurite: str, repository: Path) -> AsyncIterator[tuple[aiohttp.ClientSession, Origin]]:
    async with Origin() as origin:
        settings = environment(
            azurite,
            INFERENCE_MODEL_REPOSITORY=str(repository),
            INFERENCE_SCORE_SCRIPTS="true",
            INFERENCE_FETCH_ALLOW=f"127.0.0.1/32:{origin.port}",
            INFERENCE_FETCH_HTTP="true",
        )
        with HostProcess(ROOT, environment=settings) as host:
            async with aiohttp.ClientSession(f"{host.url}/api/") as client:
                await ready(client)
                yield client, origin


async def test_every_task_answers_as_it_is_documented(api: tuple[aiohttp.ClientSession, Origin]) -> None:
    client, origin = api
    await score_texts(client, origin)
    await find_boxes(client)
    await refuse_what_a_model_does_not_take(client)
    await run_a_script(client)
    await score_a_batch_of_texts(client, origin)


async def score_texts(client: aiohttp.ClientSession, origin: Origin) -> None:
    status, reply = await post(client, "models/claims/score", json={"text": AUTO})
    assert (status, reply["task"], reply["predictions"][0]["label"]) == (200, "text", "auto")
    assert reply.keys() == {"id", "model", "version", "task", "predictions", "timings_ms"}

    plain = {"content-type": "text/plain; charset=utf-8"}
    _, body = await post(client, "models/claims/score?top_k=1", data=HOME.encode(), headers=plain)
    assert [prediction["label"] for prediction in body["predictions"]] == ["home"]

    url = origin.serve("/home.txt", HOME.encode())
    _, by_url = await post(client, "models/claims/score", json={"url": url})
    assert by_url["predictions"][0] == body["predictions"][0]

    binary = origin.serve("/claim.bin", b"\xff\xfe\x00")
    inputs = [{"id": "a", "text": HOME}, {"url": binary}, {"data": "aGk="}, {"text": ""}]
    _, several = await post(client, "models/claims/score", json={"inputs": inputs})
    first, second, third, fourth = several["results"]
    assert (first["id"], first["predictions"][0]["label"]) == ("a", "home")
    assert (second["code"], third["code"]) == ("text_invalid", "invalid_request")
    assert len(fourth["predictions"]) == 2


async def find_boxes(client: aiohttp.ClientSession) -> None:
    png = {"content-type": "image/png"}
    _, found = await post(client, "models/boxes/score", data=SEVEN.read_bytes(), headers=png)
    assert found["image"] == {"width": 96, "height": 96, "format": "PNG"}
    assert found["predictions"] == [
        {"label": "cat", "score": pytest.approx(0.9), "xmin": 0, "ymin": 0, "xmax": 48, "ymax": 48},
        {"label": "dog", "score": pytest.approx(0.6), "xmin": 48, "ymin": 48, "xmax": 96, "ymax": 96},
    ]
    query = "models/boxes/score?score_threshold=0.05&iou_threshold=1&max_detections=3"
    _, more = await post(client, query, data=SEVEN.read_bytes(), headers=png)
    assert [prediction["label"] for prediction in more["predictions"]] == ["cat", "dog", "dog"]


async def refuse_what_a_model_does_not_take(client: aiohttp.ClientSession) -> None:
    png: dict[str, Any] = {"data": SEVEN.read_bytes(), "headers": {"content-type": "image/png"}}
    refusals = [
        ("models/claims/score", png, "claims:1 takes a text, not an image."),
        ("models/digits/score", {"json": {"text": AUTO}}, "digits:1 takes an image, not a text."),
        (
            "models/numbers/score",
            png,
            "numbers:1 takes tensors and gives tensors: send them to /v2/models/numbers/infer.",
        ),
        ("models/digits/score?iou_threshold=0.5", png, "iou_threshold has no meaning for a classification model."),
        (
            "models/claims/score",
            {"json": {"text": AUTO, "parameters": {"score_threshold": 0.5}}},
            "score_threshold has no meaning for a text model.",
        ),
    ]
    for route, request, sentence in refusals:
        status, reply = await post(client, route, **request)
        assert (status, reply["code"], reply["error"]) == (400, "invalid_request", sentence)


async def run_a_script(client: aiohttp.ClientSession) -> None:
    status, reply = await post(client, "models/scripted/score", json={"data": [1, 2, 3]})
    assert (status, reply) == (200, {"total": 6})

    status, reply = await post(client, "models/scripted/score", json={"surprise": 1})
    assert (status, reply["code"], reply["error"]) == (503, "inference_failed", "score.py: run() raised KeyError.")
    async with client.get("models/scripted/score?url=https://example.com") as response:
        assert response.status == 400
    async with client.get("models/scripted") as response:
        described = await response.json()
        assert (described["task"], described["state"]) == ("script", "ready")


async def score_a_batch_of_texts(client: aiohttp.ClientSession, origin: Origin) -> None:
    numbers = origin.serve("/numbers.json", b'{"data": [4, 5]}')
    texts = [origin.serve("/a.txt", AUTO.encode()), origin.serve("/b.txt", HOME.encode())]
    of_texts = await run_batch(client, "claims", texts, {"top_k": 1})
    of_script = await run_batch(client, "scripted", [numbers], {})

    assert [row["predictions"][0]["label"] for row in of_texts] == ["auto", "home"]
    assert [row["predictions"] for row in of_script] == [[{"total": 9}]]


async def run_batch(
    client: aiohttp.ClientSession, model: str, urls: list[str], parameters: dict[str, Any]
) -> list[dict[str, Any]]:
    manifest = {"model": model, "images": urls, "parameters": parameters}
    async with client.post("batches", json=manifest) as response:
        batch = f"batches/{(await response.json())['batch_id']}"
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            async with client.get(batch) as response:
                state = (await response.json())["state"]
            if state not in ("queued", "running"):
                break
            await asyncio.sleep(0.1)
    async with client.get(f"{batch}/results") as response:
        rows = [json.loads(line) for line in (await response.text()).splitlines()]
    assert state == "succeeded", rows
    return rows
