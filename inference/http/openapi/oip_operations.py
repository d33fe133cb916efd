"""The routes of the Open Inference Protocol, as operations.

It refuses to describe the route that only says that there is nothing there.
"""

from __future__ import annotations

from typing import Any

from inference import errors
from inference.http.oip.metadata import EXTENSIONS, PLATFORM
from inference.http.oip.requests import HEADER_LENGTH
from inference.http.openapi import failures
from inference.http.openapi.examples import PIXEL
from inference.http.openapi.operation import Json, Operation, binary, reply

_TAG = "Open Inference Protocol"
_CONTROLLING = (errors.InvalidRequest, errors.PayloadTooLarge, errors.UnsupportedMediaType, *failures.LOADING)
_MODEL = (errors.ModelNotFound, errors.ModelVersionNotFound, errors.DeadlineExceeded, *failures.LOADING)
_INFERRING = (
    *_MODEL,
    errors.InvalidRequest,
    errors.PayloadTooLarge,
    errors.TooManyInputs,
    errors.UnsupportedMediaType,
    errors.InvalidImage,
    errors.UnsupportedImage,
    errors.ImageTooLarge,
    errors.InferenceFailed,
    errors.Overloaded,
)

_INFER_DESCRIPTION = (
    "JSON, or JSON and binary tensors behind it, its length in the header below; with a length of 0 the whole body is"
    " the model's only input. An image model takes encoded images as BYTES and makes its tensor of them. The media type"
    " is not looked at. Request and reply may be compressed (gzip, deflate)."
)

_PIXELS: Json = {"name": "input", "datatype": "BYTES", "shape": [1], "data": [PIXEL]}
_LOGITS: Json = {"name": "logits", "datatype": "FP32", "shape": [1, 3]}
_REPLY: Json = {"id": "a", "model_name": "digits", "model_version": "1"}
_HEADER: Json = {"description": "Bytes of the JSON before the binary tensors.", "schema": {"type": "integer"}}
_DURATION: Json = {"count": 1, "ns": 412000}
_COMPUTE: Json = dict.fromkeys(("compute_input", "compute_infer", "compute_output"), _DURATION)
_STATISTICS: Json = {
    "model_stats": [
        {
            "name": "digits",
            "version": "1",
            "last_inference": 1767225600000,
            "inference_count": 1,
            "execution_count": 1,
            "inference_stats": {
                **dict.fromkeys(("success", "queue"), _DURATION),
                **_COMPUTE,
                **{name: {"count": 0, "ns": 0} for name in ("fail", "cache_hit", "cache_miss")},
            },
            "batch_stats": [{"batch_size": 1, **_COMPUTE}],
        }
    ]
}


def _json_body(schema: str, **more: Any) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}, **more}}


def _operation(name: str, path: str, summary: str, described: Json, method: str = "GET", **more: Any) -> Operation:
    return Operation(
        id=name, method=method, path=f"/v2{path}", tag=_TAG, summary=summary, replies={200: described}, **more
    )


def _infer(name: str, path: str, whose: str) -> Operation:
    body = _json_body("OipInferRequest", example={"id": "a", "inputs": [_PIXELS]})
    body["application/octet-stream"] = {"schema": binary("application/octet-stream")}
    described = reply(
        "The model's outputs.", "OipInferReply", example={**_REPLY, "outputs": [{**_LOGITS, "data": [0.1, 7.2, -1.5]}]}
    )
    described["content"]["application/octet-stream"] = body["application/octet-stream"]
    header = {"name": HEADER_LENGTH, "in": "header", "required": False, **_HEADER}
    return _operation(
        name,
        f"{path}/infer",
        f"Run {whose}",
        {**described, "headers": {HEADER_LENGTH: _HEADER}},
        "POST",
        description=_INFER_DESCRIPTION,
        parameters=(header,),
        body=body,
        raises=_INFERRING,
    )


def _model_operations(name: str, path: str, whose: str) -> list[Operation]:
    tensor = {"name": "input", "datatype": "FP32", "shape": [-1, 1, 16, 16]}
    model = {"name": "digits", "versions": ["1"], "platform": PLATFORM, "inputs": [tensor], "outputs": [_LOGITS]}
    configured = {"name": "input", "data_type": "TYPE_FP32", "dims": [1, 16, 16], "format": "FORMAT_NCHW"}
    config = {
        "name": "digits",
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "max_batch_size": 32,
        "input": [configured],
        "output": [{"name": "logits", "data_type": "TYPE_FP32", "dims": [10], "label_filename": "labels.txt"}],
    }
    ready = {"name": "digits", "ready": True}
    return [
        _operation(
            name, path, f"Describe {whose}", reply("Inputs and outputs.", "OipModel", example=model), raises=_MODEL
        ),
        _operation(
            f"{name}_ready",
            f"{path}/ready",
            f"Tell whether {whose} can infer",
            reply("It can.", "OipModelReady", example=ready),
            description="Loads it first, unless it was unloaded.",
            raises=_MODEL,
        ),
        _operation(
            f"{name}_config",
            f"{path}/config",
            f"Describe {whose} as Triton's configuration does",
            reply("What Triton's clients read of it.", "OipConfig", example=config),
            raises=_MODEL,
        ),
        _operation(
            f"{name}_statistics",
            f"{path}/stats",
            f"Tell what this process inferred with {whose}",
            reply("Counts and durations since the process began.", "OipStatistics", example=_STATISTICS),
            raises=_MODEL,
        ),
        _infer(name + "_infer", path, whose),
    ]


_INDEX: Json = {"name": "digits", "version": "1", "state": "READY", "reason": ""}
_DONE: Json = {"description": "Done. The body is empty."}

_SERVER: Json = {"name": "onnx-functions", "version": "0.1.0", "extensions": list(EXTENSIONS)}


def _control(verb: str, summary: str, description: str, *raises: type[errors.InferenceError]) -> Operation:
    return _operation(
        f"oip_{verb}",
        f"/repository/models/{{model}}/{verb}",
        summary,
        _DONE,
        "POST",
        description=description,
        is_admin=True,
        body=_json_body("OipControlRequest"),
        is_body_required=False,
        raises=(*_CONTROLLING, errors.ModelNotFound, *raises),
    )


OPERATIONS = (
    _operation(
        "oip_server", "", "Name the server and its extensions", reply("The server.", "OipServer", example=_SERVER)
    ),
    _operation(
        "oip_live",
        "/health/live",
        "Tell that the process answers",
        reply("It lives.", "OipLive", example={"live": True}),
        is_anonymous=True,
    ),
    _operation(
        "oip_ready",
        "/health/ready",
        "Tell whether every configured model is warm",
        reply("All are.", "OipReady", example={"live": True, "ready": True}),
        is_anonymous=True,
        raises=(errors.ModelUnavailable,),
    ),
    _operation(
        "oip_statistics",
        "/models/stats",
        "Tell what this process inferred with every loaded model",
        reply("Counts and durations since the process began.", "OipStatistics", example=_STATISTICS),
        raises=failures.LOADING,
    ),
    *_model_operations("oip_model", "/models/{model}", "a model's serving version"),
    *_model_operations("oip_version", "/models/{model}/versions/{version}", "one version of a model"),
    _operation(
        "oip_index",
        "/repository/index",
        "List every version of every model",
        reply("The repository.", "OipIndex", example=[_INDEX]),
        "POST",
        body=_json_body("OipIndexRequest", example={"ready": True}),
        is_body_required=False,
        raises=_CONTROLLING,
    ),
    _control(
        "load",
        "Load a model as it is published now",
        "Configurations and files in the request are refused. A load that takes longer than a request may goes on, and"
        " the reply is a 504.",
        errors.ModelVersionNotFound,
        errors.DeadlineExceeded,
    ),
    _control("unload", "Free a model's memory", "In this process; the next request for the model loads it again."),
)
