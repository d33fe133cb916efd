"""The app for LitServe: base64 in JSON, as its documentation shows for images. `litserve_app.py PORT WORKERS`."""

import base64
import sys
from typing import Any

import litserve
from pipeline import Pipeline


class Classifier(litserve.LitAPI):
    def setup(self, device: Any) -> None:  # noqa: ARG002 -- LitServe names it
        self.pipeline = Pipeline()

    def decode_request(self, request: dict[str, str]) -> bytes:
        return base64.b64decode(request["image_bytes"])

    def predict(self, data: bytes) -> list[dict[str, Any]]:
        return self.pipeline.score(data)

    def encode_response(self, output: list[dict[str, Any]]) -> dict[str, Any]:
        return {"predictions": output}


if __name__ == "__main__":
    server = litserve.LitServer(Classifier(), accelerator="cpu", workers_per_device=int(sys.argv[2]))
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
