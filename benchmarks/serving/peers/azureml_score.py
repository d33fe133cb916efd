"""The entry script for azureml-inference-server-http: a raw request, as its documentation shows for images."""

import json
import sys
from pathlib import Path
from typing import Any

from azureml.contrib.services.aml_request import AMLRequest, rawhttp
from azureml.contrib.services.aml_response import AMLResponse

sys.path.insert(0, str(Path(__file__).parent))
from pipeline import Pipeline

_loaded: dict[str, Pipeline] = {}


def init() -> None:
    _loaded["pipeline"] = Pipeline()


@rawhttp
def run(request: AMLRequest) -> Any:
    predictions = _loaded["pipeline"].score(request.get_data(False))
    return AMLResponse(json.dumps({"predictions": predictions}), 200, json_str=True)
