"""On the sample models: which key opens which route, the how-to as it stands, images as the score route sees them."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import tritonclient.http
from tritonclient.utils import InferenceServerException

from tests.hosting import HostProcess
from tests.oip.conftest import wait_until_ready
from tests.oip.server import Server
from tests.service.conftest import ROOT, SCANS, environment


@dataclass(frozen=True)
class Guarded:
    """A service that asks for keys, and the keys."""

    server: Server
    host_key: str
    master_key: str

    def status(self, method: str, path: str, key: str | None = None) -> int:
        headers = {} if key is None else {"x-functions-key": key}
        return self.server.request(method, path, b"" if method == "POST" else None, headers).status


@pytest.fixture(scope="module", autouse=True)
def only_this_service(request: pytest.FixtureRequest) -> None:
    """Keys are those of Azure Functions, and the how-to is this service's."""
    if request.config.getoption("--server", None):
        pytest.skip("of this service alone")


@pytest.fixture(scope="module")
def guarded(azurite: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("app")
    for name in ("function_app.py", "host.json"):
        shutil.copy(ROOT / name, folder / name)
    settings = environment(azurite, INFERENCE_OIP_SERVER_NAME="triton")
    with HostProcess(folder, environment=settings, arguments=["--enable-auth"]) as host:
        asyncio.run(wait_until_ready(f"{host.url}/api/"))
        secrets = json.loads((folder / ".devhost/secrets/host.json").read_text())
        server = Server(f"{host.url}/api", {})
        yield Guarded(server, secrets["functionKeys"][0]["value"], secrets["masterKey"]["value"])


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_probes_need_no_key(guarded: Guarded, path: str) -> None:
    assert guarded.status("GET", path) == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/models/digits"),
        ("GET", "/models/digits/ready"),
        ("GET", "/models/digits/config"),
        ("GET", "/models/digits/stats"),
        ("GET", "/models/stats"),
        ("POST", "/repository/index"),
    ],
)
def test_everything_else_needs_a_function_key(guarded: Guarded, method: str, path: str) -> None:
    assert guarded.status(method, path) == 401
    assert guarded.status(method, path, "wrong") == 401
    assert guarded.status(method, path, guarded.host_key) == 200


@pytest.mark.parametrize("verb", ["unload", "load"])
def test_loading_and_unloading_need_the_master_key(guarded: Guarded, verb: str) -> None:
    path = f"/repository/models/digits/{verb}"

    assert guarded.status("POST", path) == 401
    assert guarded.status("POST", path, guarded.host_key) == 401
    assert guarded.status("POST", path, guarded.master_key) == 200


def test_tritonclient_sends_the_key_as_a_header_or_in_the_query(guarded: Guarded) -> None:
    with tritonclient.http.InferenceServerClient(guarded.server.address) as client:
        header, query = {"x-functions-key": guarded.host_key}, {"code": guarded.host_key}

        assert client.get_server_metadata(headers=header)["name"] == "triton"
        assert client.get_server_metadata(query_params=query)["name"] == "triton"
        with pytest.raises(InferenceServerException):
            client.get_server_metadata()


def test_the_how_to_does_what_it_says(
    azurite: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs/how-to/use-tritonclient.md").read_text()
    (program, *_) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(ROOT)

    with HostProcess(ROOT, environment=environment(azurite)) as host:
        asyncio.run(wait_until_ready(f"{host.url}/api/"))
        names: dict[str, Any] = {}
        exec(program.replace("localhost:7071", f"127.0.0.1:{host.port}"), names)  # noqa: S102 -- our own page
        names["client"].close()

    printed = capsys.readouterr().out.splitlines()
    assert "'name': 'digits'" in printed[0]
    assert re.fullmatch(r"\[\[b'[0-9.]+:7:7' .*\]\]", printed[1])
    assert printed[2] == "(8, 10)"


def test_the_reference_shows_a_raw_request_that_works(guarded: Guarded) -> None:
    scan = (SCANS / "digit-7-a.png").read_bytes()
    headers = {"x-functions-key": guarded.host_key, "Inference-Header-Content-Length": "0"}

    outputs = guarded.server.request("POST", "/models/digits/infer", scan, headers).outputs()

    assert outputs["logits"]["shape"] == [1, 10]


@pytest.mark.parametrize("scan", ["digit-7-a.png", "digit-3-b.jpg"])
def test_an_encoded_image_is_seen_as_the_score_route_sees_it(guarded: Guarded, scan: str) -> None:
    data = (SCANS / scan).read_bytes()
    key = {"x-functions-key": guarded.host_key}
    raw = {**key, "Inference-Header-Content-Length": "0"}
    labels = np.array([str(digit) for digit in range(10)])

    logits = np.frombuffer(
        guarded.server.request("POST", "/models/digits/infer", data, raw).outputs()["logits"]["binary"], "<f4"
    ).astype(float)
    scored = guarded.server.request("POST", "/score?top_k=10", data, {**key, "content-type": "image/*"}, root="")
    scores = {each["label"]: each["score"] for each in scored.json()["predictions"]}

    softmax = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert [scores[label] for label in labels] == pytest.approx(softmax.tolist(), abs=1e-6)
