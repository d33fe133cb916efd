"""Schemas of the Open Inference Protocol, as far as this service reads and writes it."""

from __future__ import annotations

from typing import Any

from inference.http.oip.datatypes import BYTES, DTYPES

type Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_PARAMETERS: Json = {"type": ["object", "null"], "description": "Unknown ones are let through."}


def _object(required: list[str], properties: Json, **more: Any) -> Json:
    return {"type": "object", "required": required, "properties": properties, **more}


def _array(items: Json) -> Json:
    return {"type": "array", "items": items}


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def oip_schemas() -> Json:
    """Return the component schemas of these requests and replies by name."""
    return {**_infer_schemas(), **_metadata_schemas(), **_statistics_schemas(), **_repository_schemas()}


def _infer_schemas() -> Json:
    datatype: Json = {"type": "string", "enum": [*DTYPES, BYTES]}
    tensor = {"name": _TEXT, "datatype": datatype, "shape": _array(_COUNT), "parameters": _PARAMETERS}
    data: Json = {
        "type": ["array", "null"],
        "items": {},
        "description": "Flat, in reading order, or nested; missing where binary data is.",
    }
    described = {"name": _TEXT, "datatype": datatype, "shape": _array({"type": "integer", "minimum": -1})}
    return {
        "OipTensor": _object(["name", "datatype", "shape"], {**tensor, "data": data}),
        "OipTensorMetadata": _object(["name", "datatype", "shape"], described),
        "OipInferRequest": _object(
            ["inputs"],
            {
                "id": {"type": ["string", "null"], "maxLength": 1024},
                "parameters": _PARAMETERS,
                "inputs": _array(_reference("OipTensor")),
                "outputs": {
                    **_array(_object(["name"], {"name": _TEXT, "parameters": _PARAMETERS})),
                    "type": ["array", "null"],
                },
            },
        ),
        "OipInferReply": _object(
            ["id", "model_name", "model_version", "outputs"],
            {
                "id": _TEXT,
                "model_name": _TEXT,
                "model_version": _TEXT,
                "outputs": _array(_reference("OipTensor")),
            },
        ),
    }


def _metadata_schemas() -> Json:
    configured = {"name": _TEXT, "data_type": _TEXT, "dims": _array({"type": "integer", "minimum": -1})}
    entry = _object(["name", "data_type", "dims"], configured)
    return {
        "OipServer": _object(
            ["name", "version", "extensions"], {"name": _TEXT, "version": _TEXT, "extensions": _array(_TEXT)}
        ),
        "OipLive": _object(["live"], {"live": {"const": True}}),
        "OipReady": _object(["live", "ready"], {"live": {"const": True}, "ready": {"const": True}}),
        "OipModelReady": _object(["name", "ready"], {"name": _TEXT, "ready": {"const": True}}),
        "OipModel": _object(
            ["name", "versions", "platform", "inputs", "outputs"],
            {
                "name": _TEXT,
                "versions": _array(_TEXT),
                "platform": _TEXT,
                "inputs": _array(_reference("OipTensorMetadata")),
                "outputs": _array(_reference("OipTensorMetadata")),
            },
        ),
        "OipConfig": _object(
            ["name", "platform", "backend", "max_batch_size", "input", "output"],
            {
                "name": _TEXT,
                "platform": _TEXT,
                "backend": _TEXT,
                "max_batch_size": _COUNT,
                "input": _array(entry),
                "output": _array(entry),
            },
        ),
    }


def _statistics_schemas() -> Json:
    duration = _reference("OipDuration")
    batch = ["compute_input", "compute_infer", "compute_output"]
    request = ["success", "fail", "queue", *batch, "cache_hit", "cache_miss"]
    return {
        "OipDuration": _object(["count", "ns"], {"count": _COUNT, "ns": _COUNT}),
        "OipStatistics": _object(
            ["model_stats"],
            {
                "model_stats": _array(
                    _object(
                        ["name", "version", "inference_stats", "batch_stats"],
                        {
                            "name": _TEXT,
                            "version": _TEXT,
                            "last_inference": {**_COUNT, "description": "Milliseconds since 1970."},
                            "inference_count": _COUNT,
                            "execution_count": _COUNT,
                            "inference_stats": _object(request, dict.fromkeys(request, duration)),
                            "batch_stats": _array(
                                _object(
                                    ["batch_size", *batch], {"batch_size": _COUNT, **dict.fromkeys(batch, duration)}
                                )
                            ),
                        },
                    )
                )
            },
        ),
    }


def _repository_schemas() -> Json:
    state: Json = {"type": "string", "enum": ["READY", "LOADING", "UNAVAILABLE"]}
    entry = _object(
        ["name", "version", "state", "reason"], {"name": _TEXT, "version": _TEXT, "state": state, "reason": _TEXT}
    )
    return {
        "OipIndexRequest": _object([], {"ready": {"type": ["boolean", "null"], "description": "Only what is loaded."}}),
        "OipIndex": _array(entry),
        "OipControlRequest": _object([], {"parameters": _PARAMETERS}),
    }
