"""One trace leads from the request that submitted a batch through its shards to each row, which is counted once."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from tests.hosting import eventually
from tests.origins import Origin, Reply
from tests.service.account import Account
from tests.service.conftest import api, serve_scans, serving

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


def printed(output: str, key: str = "name") -> list[dict[str, Any]]:
    """Return what a console exporter printed: spans, or what begins with another key.

    The host puts the time before each line of a worker, and lines of its own may come between two of them. The last
    one may be half printed yet.
    """
    text = re.sub(r"^\[\d{4}-[^\]]*\] ", "", output, flags=re.MULTILINE)
    text = re.sub(r"^[^ {}\n].*\n", "", text, flags=re.MULTILINE)
    decoder, found, position = json.JSONDecoder(), [], 0
    while (position := text.find(f'{{\n    "{key}": ', position)) >= 0:
        try:
            span, end = decoder.raw_decode(text[position:])
        except json.JSONDecodeError:
            if "\n}\n" in text[position:]:
                raise
            break
        found.append(span)
        position += end
    return found


async def test_one_trace_leads_from_the_request_to_each_row(azurite: str, account: Account, origin: Origin) -> None:
    urls = [*serve_scans(origin)[:3], origin.url("/missing.png?sig=secret")]
    batch_id = f"traced-{uuid.uuid4().hex[:8]}"
    with serving(azurite, origin, OTEL_TRACES_EXPORTER="console") as host:
        manifest = {"batch_id": batch_id, "images": urls, "mini_batch_size": 2}
        status, _ = await api(host, "POST", "batches", json=manifest, headers={"traceparent": TRACEPARENT})
        assert status == 202
        await account.summary(batch_id)

        async def finished() -> bool:
            return any(span["name"] == "batch.finish" for span in printed(host.output))

        await eventually(finished)
        _, letters = await api(host, "GET", f"deadletters?batch_id={batch_id}")

    of_trace = [span for span in printed(host.output) if span["context"]["trace_id"] == f"0x{TRACE_ID}"]
    names = [span["name"] for span in of_trace]
    assert names.count("POST submit_batch") == 1
    assert names.count("batch.expand") == 1
    assert names.count("batch.shard") == 2
    assert names.count("batch.item") == 4
    for stage in ("decode", "preprocess", "run", "postprocess"):
        assert names.count(f"inference.{stage}") == 3
    assert names.count("inference.fetch") == 4
    failed = [span for span in of_trace if span["attributes"].get("error.type") == "image_not_found"]
    assert {"batch.item"} <= {span["name"] for span in failed}
    assert letters["deadletters"][0]["trace_id"] == TRACE_ID
    assert "secret" not in host.output


async def test_an_item_of_a_batch_is_counted_once_however_often_it_is_tried(
    azurite: str, account: Account, origin: Origin
) -> None:
    urls = [*serve_scans(origin)[:3], origin.url("/missing.png"), origin.answer("/broken.png", Reply(status=503))]
    batch_id = f"counted-{uuid.uuid4().hex[:8]}"
    settings = {"OTEL_METRICS_EXPORTER": "console", "OTEL_METRIC_EXPORT_INTERVAL": "300"}
    with serving(azurite, origin, **settings, INFERENCE_MAX_ATTEMPTS="2") as host:

        def points(name: str) -> list[dict[str, Any]]:
            exports = printed(host.output, "resource_metrics")
            scopes = [scope for resource in exports[-1]["resource_metrics"] for scope in resource["scope_metrics"]]
            metrics = [metric for scope in scopes for metric in scope["metrics"] if metric["name"] == name]
            return [point for metric in metrics for point in metric["data"]["data_points"]]

        status, _ = await api(host, "POST", "batches", json={"batch_id": batch_id, "images": urls})
        assert status == 202
        await account.summary(batch_id)

        async def ended() -> bool:
            return bool(printed(host.output, "resource_metrics") and points("inference.batches"))

        await eventually(ended)
        counted = {point["attributes"]["outcome"]: point["value"] for point in points("inference.items")}
        fetches = [p["count"] for p in points("inference.stage.duration") if p["attributes"]["stage"] == "fetch"]

    assert counted == {"ok": 3, "image_not_found": 1, "origin_unavailable": 1}
    assert fetches == [6]
