"""One trace leads from the request that submitted a batch through its shards to each row."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from tests.hosting import eventually
from tests.origins import Origin
from tests.service.account import Account
from tests.service.conftest import api, serve_scans, serving

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


def spans(output: str) -> list[dict[str, Any]]:
    """Return what the console exporter printed; the host puts the time before each line of a worker.

    The last one may be half printed yet.
    """
    text = re.sub(r"^\[\d{4}-[^\]]*\] ", "", output, flags=re.MULTILINE)
    decoder, found, position = json.JSONDecoder(), [], 0
    while (position := text.find('{\n    "name": ', position)) >= 0:
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
            return any(span["name"] == "batch.finish" for span in spans(host.output))

        await eventually(finished)
        _, letters = await api(host, "GET", f"deadletters?batch_id={batch_id}")

    of_trace = [span for span in spans(host.output) if span["context"]["trace_id"] == f"0x{TRACE_ID}"]
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
