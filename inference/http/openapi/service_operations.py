"""The routes that tell of the service itself, as operations."""

from __future__ import annotations

from collections.abc import Mapping

from inference import errors
from inference.http.openapi.operation import Json, Operation, reply

_NAMED_MODEL: Json = {"model": "digits", "version": "1"}


def service_schemas() -> Json:
    """Return the component schemas of these replies by name."""
    text: Json = {"type": "string"}
    model: Json = {"type": "object", "required": ["model"], "properties": {"model": text, "version": text}}
    state: Json = {"type": "string", "enum": ["ready", "loading", "failed"]}
    return {
        "Health": {"type": "object", "required": ["status"], "properties": {"status": {"const": "live"}}},
        "Readiness": {
            "type": "object",
            "required": ["status", "models"],
            "properties": {
                "status": {"const": "ready"},
                "models": {
                    "type": "array",
                    "items": {**model, "properties": {**model["properties"], "state": state, "reason": text}},
                },
            },
        },
        "Version": {
            "type": "object",
            "required": ["name", "version", "python", "models"],
            "properties": {
                "name": text,
                "version": text,
                "python": text,
                "models": {"type": "array", "items": {**model, "properties": {**model["properties"], "sha256": text}}},
            },
        },
    }


def _page(operation: str, path: str, summary: str) -> Operation:
    kept = {304: {"description": "The page is the one that `If-None-Match` names."}}
    return _document(operation, path, summary, "The page.", "text/html", {"type": "string"}, kept)


def _description(operation: str, path: str, summary: str) -> Operation:
    return _document(operation, path, summary, "This document.", "application/json", {"type": "object"})


def _document(
    operation: str,
    path: str,
    summary: str,
    answer: str,
    media_type: str,
    schema: Json,
    further: Mapping[int, Json] | None = None,
) -> Operation:
    return Operation(
        id=operation,
        method="GET",
        path=path,
        tag="Service",
        summary=summary,
        is_anonymous=True,
        replies={200: {"description": answer, "content": {media_type: {"schema": schema}}}, **(further or {})},
    )


OPERATIONS = (
    Operation(
        id="health",
        method="GET",
        path="/health",
        tag="Service",
        summary="Tell that the process answers",
        is_anonymous=True,
        replies={200: reply("It lives.", "Health", example={"status": "live"})},
    ),
    Operation(
        id="ready",
        method="GET",
        path="/ready",
        tag="Service",
        summary="Tell whether every configured model is warm",
        description="Asking loads what is not loaded yet.",
        is_anonymous=True,
        replies={
            200: reply(
                "All are.",
                "Readiness",
                example={"status": "ready", "models": [{**_NAMED_MODEL, "state": "ready"}]},
            )
        },
        raises=(errors.ModelUnavailable,),
    ),
    Operation(
        id="version",
        method="GET",
        path="/version",
        tag="Service",
        summary="Name the build and the models that serve",
        is_anonymous=True,
        replies={
            200: reply(
                "The build.",
                "Version",
                example={
                    "name": "onnx-functions",
                    "version": "0.1.0",
                    "python": "3.13.5",
                    "models": [{**_NAMED_MODEL, "sha256": "9f86d081…"}],
                },
            )
        },
        raises=(errors.ModelUnavailable,),
    ),
    _description("openapi", "/openapi.json", "Describe this API"),
    _description("swagger", "/swagger.json", "Describe this API where clients of Azure ML look for it"),
    _page("docs", "/docs", "Describe this API to a reader"),
    _page("ui", "/ui", "Open the console"),
)
