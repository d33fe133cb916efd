"""Schemas of the score requests, their replies, the models and the one error shape."""

from __future__ import annotations

from typing import Any

import msgspec

from inference.http.openapi.operation import binary
from inference.scorer import ScoreParameters
from inference.settings import RequestLimits
from inference.telemetry import Stage

type Json = dict[str, Any]

_ITEM_ID: Json = {"type": "string", "maxLength": 256, "description": "The caller's id of it; comes back."}
_URL: Json = {
    "type": "string",
    "minLength": 1,
    "maxLength": 2048,
    "description": "Where the image is: https and a public address, unless the operator allows more.",
}
_DATA: Json = {"type": "string", "contentEncoding": "base64", "description": "The encoded image (JPEG, PNG, …)."}
_TEXT: Json = {"type": "string", "description": "The text, for a model of texts."}
#: What each parameter of a score request does; forms, queries and JSON take the same ones.
PARAMETERS = {
    "top_k": "Predictions at most; the model's own number when it is left out.",
    "min_score": "Predictions with a lower score are left out.",
    "score_threshold": "Detection: boxes with a lower score are not looked at.",
    "iou_threshold": "Detection: of two boxes of a class that overlap by more, the better one stays.",
    "max_detections": "Detection: boxes at most.",
}
_PARAMETERS: Json = {"$ref": "#/components/schemas/ScoreParameters"}


def _object(required: list[str], properties: Json, **more: Any) -> Json:
    return {"type": "object", "required": required, "properties": properties, **more}


def _score_parameters() -> Json:
    """Return the schema of the parameters as the scorer itself reads them."""
    _, schemas = msgspec.json.schema_components([ScoreParameters])
    schema: Json = schemas[ScoreParameters.__name__]
    properties: Json = schema["properties"]
    for name, description in PARAMETERS.items():
        properties[name]["description"] = description
    return schema


def number_of(parameter: str) -> Json:
    """Return the schema of one parameter in a query or a form, where nothing stands for null."""
    number, _ = _score_parameters()["properties"][parameter]["anyOf"]
    return dict(number)


def _requests() -> Json:
    file = binary("application/octet-stream")
    by_url = _object(["url"], {"id": _ITEM_ID, "url": _URL}, additionalProperties=False)
    by_data = _object(["data"], {"id": _ITEM_ID, "data": _DATA}, additionalProperties=False)
    by_text = _object(["text"], {"id": _ITEM_ID, "text": _TEXT}, additionalProperties=False)
    return {
        "ScoreParameters": _score_parameters(),
        "ImageInput": {
            "description": "One image, by its url or as base64; for a model of texts a text, or its url.",
            "oneOf": [by_url, by_data, by_text],
        },
        "ScoreRequest": {
            "description": "One image by its url or as base64, one text, or several of them.",
            "oneOf": [
                {**by_url, "properties": {**by_url["properties"], "parameters": _PARAMETERS}},
                {**by_data, "properties": {**by_data["properties"], "parameters": _PARAMETERS}},
                {**by_text, "properties": {**by_text["properties"], "parameters": _PARAMETERS}},
                _object(
                    ["inputs"],
                    {
                        "inputs": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": RequestLimits().max_inputs,
                            "items": {"$ref": "#/components/schemas/ImageInput"},
                            "description": "At most INFERENCE_MAX_INPUTS of them; its default is shown.",
                        },
                        "parameters": _PARAMETERS,
                    },
                    additionalProperties=False,
                ),
            ],
        },
        "ScoreForm": _object(
            [],
            {"image": file, **{name: number_of(name) for name in PARAMETERS}},
            description="Fields for the parameters, and one file or more under any names.",
            additionalProperties=file,
        ),
    }


def _predictions() -> Json:
    score: Json = {"type": "number", "description": "0 … 1 where the model yields probabilities."}
    pixel: Json = {"type": "number", "description": "Pixels of the image as a viewer shows it."}
    label: Json = {"type": "string"}
    corners = dict.fromkeys(("xmin", "ymin", "xmax", "ymax"), pixel)
    return {
        "Classification": _object(["label", "score"], {"label": label, "score": score}),
        "Detection": _object(["label", "score", *corners], {"label": label, "score": score, **corners}),
        "Predictions": {
            "type": "array",
            "description": "The highest score first.",
            "items": {
                "anyOf": [{"$ref": "#/components/schemas/Detection"}, {"$ref": "#/components/schemas/Classification"}]
            },
        },
    }


def _replies() -> Json:
    milliseconds: Json = {"type": "number", "minimum": 0}
    return {
        "Score": _object(
            ["id", "model", "version", "task", "predictions", "timings_ms"],
            {
                "id": {"type": "string", "description": "The image's id if it had one, else the request's."},
                "model": {"type": "string"},
                "version": {"type": "string"},
                "task": {"$ref": "#/components/schemas/Task"},
                "image": _object(
                    ["width", "height", "format"],
                    {
                        "width": {"type": "integer", "minimum": 1},
                        "height": {"type": "integer", "minimum": 1},
                        "format": {"type": "string"},
                    },
                    description="The image as a viewer shows it: after EXIF orientation. A text has none.",
                ),
                "predictions": {"$ref": "#/components/schemas/Predictions"},
                "timings_ms": _object(
                    [str(stage) for stage in Stage],
                    {str(stage): milliseconds for stage in Stage},
                    description="Milliseconds of each stage; `queue` is the wait for a core.",
                ),
            },
        ),
        "ScoreFailure": _object(
            ["id", "error", "code", "request_id"],
            {
                "id": {"type": "string"},
                "error": {"type": "string"},
                "code": {"$ref": "#/components/schemas/ErrorCode"},
                "request_id": {"type": "string"},
            },
            description="One image of several that could not be scored.",
        ),
        "Scores": _object(
            ["results"],
            {
                "results": {
                    "type": "array",
                    "description": "One for each of the inputs, in their order.",
                    "items": {
                        "oneOf": [{"$ref": "#/components/schemas/Score"}, {"$ref": "#/components/schemas/ScoreFailure"}]
                    },
                }
            },
        ),
    }


def _models() -> Json:
    state: Json = {"type": "string", "enum": ["unloaded", "loading", "ready", "failed"]}
    digest: Json = {"type": ["string", "null"], "description": "SHA-256 of model.onnx, once it is loaded."}
    return {
        "Task": {"type": "string", "enum": ["classification", "detection", "text", "tensor", "script"]},
        "ModelVersion": _object(
            ["version", "state"],
            {
                "version": {"type": "string"},
                "state": state,
                "sha256": digest,
                "reason": {"type": ["string", "null"], "description": "Why it failed."},
            },
        ),
        "Model": _object(
            ["name", "version", "versions", "state"],
            {
                "name": {"type": "string"},
                "version": {"type": ["string", "null"], "description": "The version that serves."},
                "versions": {"type": "array", "items": {"$ref": "#/components/schemas/ModelVersion"}},
                "state": state,
                "reason": {
                    "type": ["string", "null"],
                    "description": "Why another version than the one that should serve does, or none.",
                },
                "canary": {
                    "anyOf": [
                        _object(
                            ["version", "share"],
                            {
                                "version": {"type": "string"},
                                "share": {"type": "number", "minimum": 0, "maximum": 1},
                            },
                        ),
                        {"type": "null"},
                    ],
                    "description": "The version that takes a share of the requests that name no version.",
                },
                "task": {"anyOf": [{"$ref": "#/components/schemas/Task"}, {"type": "null"}]},
                "labels": {"type": ["array", "null"], "items": {"type": "string"}},
                "sha256": digest,
                "execution": {"anyOf": [_plan(), {"type": "null"}], "description": "How it runs, once it is loaded."},
            },
        ),
        "Models": _object(["models"], {"models": {"type": "array", "items": {"$ref": "#/components/schemas/Model"}}}),
    }


def _plan() -> Json:
    count: Json = {"type": "integer", "minimum": 1}
    return _object(
        ["threads", "parallel", "max_batch", "idle_threads", "spinning", "origin"],
        {
            "threads": {**count, "description": "Cores of one run under load."},
            "parallel": {**count, "description": "Such runs at once."},
            "max_batch": {**count, "description": "Items joined in one run at most; 1: none."},
            "idle_threads": {**count, "description": "Cores of a run that has the machine to itself."},
            "spinning": {"type": "boolean", "description": "Whether the threads of such a run spin."},
            "origin": {"type": "string", "enum": ["default", "tuned", "declared"]},
        },
    )


def score_schemas() -> Json:
    """Return the component schemas by name."""
    return {**_requests(), **_predictions(), **_replies(), **_models()}
