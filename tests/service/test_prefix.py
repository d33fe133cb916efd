"""A container prefix of the app's own account as a manifest: its images are read by the app's identity."""

from __future__ import annotations

import uuid

from tests.origins import Origin
from tests.service.account import Account
from tests.service.conftest import SCANS, api, serving


async def test_every_image_under_a_prefix_is_scored_without_the_web(
    azurite: str, account: Account, origin: Origin
) -> None:
    unique = uuid.uuid4().hex[:8]
    scans = sorted(SCANS.iterdir())
    photos = account.blobs.get_container_client(f"photos-{unique}")
    await photos.create_container()
    for scan in scans:
        await photos.upload_blob(f"2026/day 1/{scan.name}", scan.read_bytes())
    await photos.upload_blob("2026/notes.txt", b"no image")
    await photos.upload_blob("2027/digit.png", scans[0].read_bytes())

    with serving(azurite, origin) as host:
        manifest = {"batch_id": f"prefix-{unique}", "manifest": f"{photos.url}/2026/", "mini_batch_size": 7}
        status, _ = await api(host, "POST", "batches", json=manifest)
        summary = await account.summary(f"prefix-{unique}")
        rows = await account.rows(f"prefix-{unique}")

    assert status == 202
    assert (summary["state"], summary["total"], summary["failed"]) == ("succeeded", len(scans), 0)
    assert [row["id"] for row in rows] == [f"2026/day 1/{scan.name}" for scan in scans]
    assert [row["predictions"][0]["label"] for row in rows] == [scan.name.split("-")[1] for scan in scans]
    assert not origin.requests
