"""A server under test: its address, its models by role, and one plain HTTP request at a time, nothing hidden."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest


@dataclass(frozen=True)
class Reply:
    """One reply; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The sentence of an error reply, which has one under this key whatever the server."""
        assert self.status >= 400
        return str(self.json()["error"])

    def outputs(self) -> dict[str, dict[str, Any]]:
        """The outputs of an infer reply by name; binary ones have their bytes under `binary`."""
        assert self.status == 200, self.body
        length = int(self.headers.get("inference-header-content-length", len(self.body)))
        outputs: dict[str, dict[str, Any]] = {}
        rest = self.body[length:]
        for output in json.loads(self.body[:length])["outputs"]:
            size = output.get("parameters", {}).get("binary_data_size")
            if size is not None:
                output["binary"], rest = rest[:size], rest[size:]
            outputs[output["name"]] = output
        assert not rest
        return outputs


@dataclass(frozen=True)
class Server:
    """Where a server listens (`http://host:port[/prefix]`), and the names of its models by role."""

    url: str
    models: Mapping[str, str]
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Whether it is this project's own, whose answers the suite knows where the protocol leaves them open.
    is_ours: bool = False

    @property
    def address(self) -> str:
        """As tritonclient wants it, without a scheme."""
        return self.url.partition("://")[2]

    def model(self, role: str) -> str:
        """The name of the model in a role; the test skips when the server has none."""
        if role not in self.models:
            pytest.skip(f"no model for {role}: --oip-model {role}=NAME")
        return self.models[role]

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        root: str = "/v2",
    ) -> Reply:
        """Send one request below `root`, with no header but those given and those HTTP itself needs."""
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.netloc, timeout=60)
        try:
            target = f"{parts.path.rstrip('/')}{root}{path}"
            connection.request(method, target, body, {**self.headers, **(headers or {})})
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, found, response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """Return the JSON of a GET that succeeds."""
        reply = self.request("GET", path)
        assert reply.status == 200, reply.body
        return reply.json()

    def infer(
        self, role: str, request: Any, *tensors: bytes, version: str = "", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Post an infer request; with `tensors`, binary data behind it."""
        body = json.dumps(request).encode()
        sent = dict(headers or {})
        if tensors:
            sent.setdefault("Inference-Header-Content-Length", str(len(body)))
        path = f"/models/{self.model(role)}{f'/versions/{version}' if version else ''}/infer"
        return self.request("POST", path, body + b"".join(tensors), sent)
