"""Example bodies and replies, those a reader can try on the sample model; it refuses to be a schema."""

from __future__ import annotations

from typing import Any

type Json = dict[str, Any]

#: The smallest PNG: one white pixel.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTjOlwAAAABJRU5ErkJggg=="
_IMAGE_URL = "https://example.com/digit-7.png"

SCORE_REQUESTS: Json = {
    "url": {"summary": "By url", "value": {"url": _IMAGE_URL, "parameters": {"top_k": 3}}},
    "text": {"summary": "A text", "value": {"text": "Hail dented the bonnet and cracked the windscreen."}},
    "data": {"summary": "As base64", "value": {"id": "white", "data": PIXEL}},
    "inputs": {
        "summary": "Several",
        "value": {"inputs": [{"id": "a", "url": _IMAGE_URL}, {"id": "b", "data": PIXEL}], "parameters": {"top_k": 1}},
    },
}

SCORE: Json = {
    "id": "5f0c5f3e7a0b4b0f9a3c7e3d2b1a0f9e",
    "model": "digits",
    "version": "1",
    "task": "classification",
    "image": {"width": 96, "height": 96, "format": "PNG"},
    "predictions": [{"label": "7", "score": 0.98}, {"label": "1", "score": 0.01}],
    "timings_ms": {"fetch": 21.4, "decode": 0.31, "preprocess": 0.12, "queue": 0.08, "run": 0.35, "postprocess": 0.04},
}
_DETECTION: Json = {"label": "dog", "score": 0.91, "xmin": 128.2, "ymin": 219.5, "xmax": 309.8, "ymax": 541.0}
SCORE_REPLIES: Json = {
    "classification": {"summary": "Classification", "value": SCORE},
    "detection": {
        "summary": "Detection",
        "value": {
            **SCORE,
            "model": "street",
            "task": "detection",
            "image": {"width": 768, "height": 576, "format": "JPEG"},
            "predictions": [_DETECTION],
        },
    },
}
SCORES: Json = {
    "results": [
        {**SCORE, "id": "a"},
        {"id": "b", "error": "The bytes are not a readable image.", "code": "image_invalid", "request_id": "9f86d081…"},
    ]
}

MODEL: Json = {
    "name": "digits",
    "version": "1",
    "versions": [{"version": "1", "state": "ready", "sha256": "9f86d081…", "reason": None}],
    "state": "ready",
    "reason": None,
    "canary": None,
    "task": "classification",
    "labels": ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
    "sha256": "9f86d081…",
    "execution": {
        "threads": 1,
        "parallel": 2,
        "max_batch": 1,
        "idle_threads": 2,
        "spinning": True,
        "origin": "tuned",
    },
}

MANIFEST: Json = {
    "batch_id": "digits-2026-01",
    "model": "digits",
    "images": [_IMAGE_URL, {"id": "a", "url": "https://example.com/digit-8.png"}],
    "parameters": {"top_k": 1},
    "max_retries": 3,
}
MANIFEST_LINES = '{"id": "a", "url": "https://example.com/digit-7.png"}\nhttps://example.com/digit-8.png\n'
EXPORT = (
    '{"id":"a","url":"https://example.com/digit-7.png"}\n{"id":"b","url":"https://example.com/none.png?version=2"}\n'
)
MANIFEST_CSV = "id,url\na,https://example.com/digit-7.png\nb,https://example.com/digit-8.png\n"
MANIFEST_URLS = "https://example.com/digit-7.png\nhttps://example.com/digit-8.png\n"

BATCH: Json = {
    "batch_id": "digits-2026-01",
    "state": "running",
    "total": 1000,
    "succeeded": 620,
    "failed": 3,
    "pending": 377,
    "errors": {"image_not_found": 2, "origin_timeout": 1},
    "created_at": "2026-01-05T09:00:00Z",
    "updated_at": "2026-01-05T09:00:12Z",
    "round": 0,
    "model": "digits",
    "version": "1",
    "eta_seconds": 7,
    "links": {
        "status": "/api/batches/digits-2026-01",
        "results": "/api/batches/digits-2026-01/results",
        "deadletters": "/api/deadletters?batch_id=digits-2026-01",
    },
}

ROWS = (
    '{"index":0,"id":"a","url":"https://example.com/digit-7.png","status":"succeeded","model":"digits","version":"1",'
    '"predictions":[{"label":"7","score":0.98}],"attempts":1}\n'
    '{"index":1,"id":"b","url":"https://example.com/none.png","status":"failed","error":{"code":"image_not_found",'
    '"message":"The image\'s origin says that there is no such image.","retryable":false},"attempts":1}\n'
)

DEAD_LETTER: Json = {
    "kind": "item",
    "batch_id": "digits-2026-01",
    "index": 1,
    "id": "b",
    "url": "https://example.com/none.png",
    "code": "image_not_found",
    "message": "The image's origin says that there is no such image.",
    "retryable": False,
    "attempts": 1,
    "first_at": "2026-01-05T09:00:03Z",
    "last_at": "2026-01-05T09:00:03Z",
    "model": "digits",
    "version": "1",
    "sha256": "9f86d081…",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "round": 0,
    "history": [],
}

SELECTION: Json = {"batch_id": "digits-2026-01", "code": "image_not_found", "dry_run": True}


def outcome(counted: str) -> Json:
    """Return the reply to SELECTION; `counted` is `replayed` or `purged`."""
    return {counted: 2, "batches": [{"batch_id": "digits-2026-01", "round": 1, "items": 2}], "dry_run": True}
