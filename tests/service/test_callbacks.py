"""A batch's callback on the running service: the receiver is down at first, then told, once the event is out."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid

from tests.hosting import eventually
from tests.origins import Origin, Reply
from tests.service.account import Account
from tests.service.conftest import api, serve_scans, serving

SECRET = "canary-key"


async def test_an_ended_batch_is_told_to_its_callback_url_signed_and_again_until_that_works(
    azurite: str, account: Account, origin: Origin
) -> None:
    urls = serve_scans(origin)[:3]
    hook = origin.answer("/hooks/done", Reply(503), Reply(302, headers={"Location": "/hooks/other"}), Reply(204))
    hook += "?token=canary-token"
    batch_id = f"told-{uuid.uuid4().hex[:8]}"
    settings = {
        "INFERENCE_CALLBACK_ALLOW": origin.url("/hooks/"),
        "INFERENCE_CALLBACK_SECRET": SECRET,
        "INFERENCE_RETRY_CAP_SECONDS": "1",
    }
    with serving(azurite, origin, **settings) as host:
        manifest = {"batch_id": batch_id, "images": urls, "callback_url": hook}
        refused = {**manifest, "callback_url": origin.url("/hooks/../private")}
        status, reply = await api(host, "POST", "batches", json=refused)
        assert (status, reply["code"]) == (400, "invalid_manifest")
        assert reply["error"].startswith("callback_url: ")
        await account.drop("batch-manifests", json.dumps(manifest))

        async def told() -> bool:
            return origin.hits["/hooks/done"] == 3

        await eventually(told)
        assert "canary" not in host.output

    assert origin.hits["/hooks/other"] == 0
    posts = [request for request in origin.requests if request.target.startswith("/hooks/")]
    events = account.queues.get_queue_client("batch-events")
    (event,) = [base64.b64decode(message.content) async for message in events.receive_messages()]
    assert (json.loads(event)["batch_id"], json.loads(event)["state"]) == (batch_id, "succeeded")
    signature = "sha256=" + hmac.new(SECRET.encode(), event, hashlib.sha256).hexdigest()
    for post in posts:
        assert (post.method, post.target, post.body) == ("POST", "/hooks/done?token=canary-token", event)
        headers = {name.lower(): value for name, value in post.headers.items()}
        assert headers["x-onnxfn-signature"] == signature
        assert headers["idempotency-key"] == f"{batch_id}/0"
        assert headers["x-request-id"] == headers["traceparent"].split("-")[1]
