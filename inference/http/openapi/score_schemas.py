"""Schemas of the score requests, their replies, the models and the one error shape."""

from __future__ import annotations

from typing import Any

from inference.scorer import ScoreParameters
from inference.settings import RequestLimits
from inference.telemetry import Stage

type Json = dict[str, Any]

_ITEM_ID: Json = {"type": "string", "maxLength": 256, "description": "The caller's id of this image; comes back."}
_URL: Json = {
    "type": "string",
    "minLength": 1,
    "maxLength": 2048,
    "description": "Where the image is: https and a public address, unless the operator allows more.",
}
_DATA: Json = {"type": "string", "contentEncoding": "base64", "description": "The encoded image (JPEG, PNG, …)."}
_PARAMETERS: Json = {"$ref": "#/components/schemas/ScoreParameters"}


def _object(required: list[str], properties: Json, **more: Any) -> Json:
    return {"type": "object", "required": required, "properties": properties, **more}


def _score_parameters() -> Json:
    """Return the schema of the parameters as the scorer itself reads them."""
    schema = ScoreParameters.model_json_schema()
    properties: Json = schema["properties"]
    properties["top_k"]["description"] = "Predictions at most; the model's own number when it is left out."
    properties["min_score"]["description"] = "Predictions with a lower score are left out."
    return schema


def _requests() -> Json:
    by_url = _object(["url"], {"id": _ITEM_ID, "url": _URL}, additionalProperties=False)
    by_data = _object(["data"], {"id": _ITEM_ID, "data": _DATA}, additionalProperties=False)
    return {
        "ScoreParameters": _score_parameters(),
        "ImageInput": {"description": "One image, by its url or as base64.", "oneOf": [by_url, by_data]},
        "ScoreRequest": {
            "description": "One image by its url, one as base64, or several.",
            "oneOf": [
                {**by_url, "properties": {**by_url["properties"], "parameters": _PARAMETERS}},
                {**by_data, "properties": {**by_data["properties"], "parameters": _PARAMETERS}},
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
            {"top_k": {"type": "integer"}, "min_score": {"type": "number"}},
            description="Fields for the parameters, and one file or more under any names.",
            additionalProperties={"type": "string", "contentMediaType": "application/octet-stream"},
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
            ["id", "model", "version", "task", "image", "predictions", "timings_ms"],
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
                    description="The image as a viewer shows it: after EXIF orientation.",
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
            ["id", "error", "code"],
            {"id": {"type": "string"}, "error": {"type": "string"}, "code": {"$ref": "#/components/schemas/ErrorCode"}},
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
        "Task": {"type": "string", "enum": ["classification", "detection", "text", "tensor"]},
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
                "task": {"anyOf": [{"$ref": "#/components/schemas/Task"}, {"type": "null"}]},
                "labels": {"type": ["array", "null"], "items": {"type": "string"}},
                "sha256": digest,
            },
        ),
        "Models": _object(["models"], {"models": {"type": "array", "items": {"$ref": "#/components/schemas/Model"}}}),
    }


def score_schemas() -> Json:
    """Return the component schemas by name."""
    return {**_requests(), **_predictions(), **_replies(), **_models()}
