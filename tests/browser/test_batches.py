"""The console's Batches and Dead letters views in a real browser: submit, follow, fetch, try again."""

from __future__ import annotations

import asyncio
import gzip
import json
import uuid
from pathlib import Path

import pytest

from tests.browser.chromium import Tab
from tests.browser.conftest import warm
from tests.hosting import eventually
from tests.origins import Origin, Reply
from tests.service.conftest import SCANS, serving

SEVEN = (SCANS / "digit-7-a.png").read_bytes()


def in_state(state: str) -> str:
    return f"document.querySelector('#batch-detail .badge')?.textContent === '{state}'"


async def test_a_batch_is_submitted_followed_downloaded_and_its_failed_image_tried_again(
    tab: Tab, azurite: str, tmp_path: Path
) -> None:
    batch_id = f"console-{uuid.uuid4().hex[:8]}"
    async with Origin() as origin:
        lines = f"{origin.serve('/good.png', SEVEN)}\n{origin.url('/missing.png')}\n"
        with serving(azurite, origin) as host:
            await tab.open(f"{await warm(host)}/ui#batches")
            await tab.fill("#manifest-text", lines)
            assert await tab.text("#manifest-note") == "Read as urls: 2 images."
            await tab.fill("#batch-id", batch_id)
            await tab.click("#batch-submit")

            await tab.wait_for(in_state("succeeded"))
            assert "image_not_found 1" in await tab.text("#batch-detail")
            rows = await download(tab, "Results as JSON Lines", tmp_path / f"{batch_id}.jsonl")
            assert [row["status"] for row in rows] == ["succeeded", "failed"]

            await tab.click("#batch-detail a[href*='code=image_not_found']")
            await tab.wait_for("document.querySelector('#deadletter-list .card')")
            assert "image_not_found 1 image" in await tab.text("#deadletter-list")

            origin.serve("/missing.png", SEVEN)
            await tab.click("#deadletter-list .card button")
            await tab.wait_for("document.querySelector('#confirmation[open]')")
            assert "1 dead letter will be tried again." in await tab.text("#confirmation")
            await tab.click("#confirmation .primary")
            await tab.wait_for("document.querySelector('#replay-outcome a')")
            await tab.click("#replay-outcome a")
            await tab.wait_for(in_state("succeeded") + " && !document.querySelector('#batch-detail .codes')")

            await tab.click("nav a[href='#batches']")
            await tab.wait_for("document.querySelector('#batch-list table')")
            assert batch_id in await tab.text("#batch-list")


async def test_a_batch_is_followed_on_when_the_service_was_away(tab: Tab, azurite: str) -> None:
    batch_id = f"away-{uuid.uuid4().hex[:8]}"
    async with Origin() as origin:
        release = asyncio.Event()
        url = origin.answer("/held.png", Reply(body=SEVEN, hold=release))
        with serving(azurite, origin) as host:
            await tab.open(f"{await warm(host)}/ui#batches")
            await tab.wait_for("document.querySelector('#readiness').textContent === 'ready'")
            await tab.fill("#manifest-text", url)
            await tab.fill("#batch-id", batch_id)
            await tab.click("#batch-submit")
            await tab.wait_for("document.querySelector('#batch-detail .badge')")

            await go_offline(tab, is_offline=True)
            await tab.wait_for("document.querySelector('#batch-detail .problem')")
            await tab.wait_for("document.querySelector('#readiness').textContent === 'unreachable'")
            await go_offline(tab, is_offline=False)
            release.set()

            await tab.wait_for(in_state("succeeded"))
            await tab.wait_for("document.querySelector('#readiness').textContent === 'ready'")
    assert all("ERR_INTERNET_DISCONNECTED" in complaint for complaint in tab.complaints)
    tab.complaints.clear()


async def go_offline(tab: Tab, *, is_offline: bool) -> None:
    await tab.command("Network.enable")
    await tab.command(
        "Network.emulateNetworkConditions", offline=is_offline, latency=0, downloadThroughput=-1, uploadThroughput=-1
    )


async def download(tab: Tab, button: str, saved: Path) -> list[dict[str, str]]:
    """Click a button by its text and return the rows of the file that the browser saves."""
    await tab.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(saved.parent))
    await tab.evaluate(f"[...document.querySelectorAll('button')].find((one) => one.innerText === '{button}').click()")

    async def is_saved() -> bool:
        return saved.exists() and saved.stat().st_size > 0

    await eventually(is_saved)
    return [json.loads(line) for line in saved.read_text().splitlines()]


async def test_a_broken_manifest_is_refused_naming_its_line_and_nothing_is_lost_of_the_form(tab: Tab, api: str) -> None:
    lines = '{"url": "https://example.com/a.png"}\n{"id": "b"}'
    await tab.open(f"{api}/ui#batches")
    await tab.fill("#manifest-text", lines)
    await tab.click("#batch-submit")
    await tab.wait_for("document.querySelector('#manifest-note .problem')")

    assert "line 2: no url" in await tab.text("#manifest-note")
    assert await tab.evaluate("document.querySelector('#manifest-text').value") == lines
    assert ["400" in complaint for complaint in tab.complaints] == [True]
    tab.complaints.clear()


async def test_options_of_the_form_go_into_a_json_manifest(tab: Tab, api: str) -> None:
    await tab.open(f"{api}/ui#batches")
    await tab.fill("#manifest-text", json.dumps({"images": ["https://example.com/a.png"], "max_retries": 0}))
    await tab.fill("#batch-id", "Not-An-Id")
    assert not await tab.evaluate("document.querySelector('#batch-form').checkValidity()")

    batch_id = f"json-{uuid.uuid4().hex[:8]}"
    await tab.fill("#batch-id", batch_id)
    await tab.click("#batch-submit")
    await tab.wait_for(f"document.querySelector('#batch-detail h2')?.textContent.startsWith('{batch_id}')")

    assert await tab.evaluate("location.hash") == f"#batches/{batch_id}"


async def test_what_a_manifest_says_is_shown_as_text(tab: Tab, azurite: str) -> None:
    hostile = "\"><img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    batch_id = f"hostile-{uuid.uuid4().hex[:8]}"
    images = [{"id": hostile, "url": f"https://{hostile}/"}, {"url": "javascript:document.title='owned'"}]
    async with Origin() as origin:
        with serving(azurite, origin) as host:
            await tab.open(f"{await warm(host)}/ui#batches")
            await tab.fill("#manifest-text", json.dumps({"images": images}))
            await tab.fill("#batch-id", batch_id)
            await tab.click("#batch-submit")
            await tab.wait_for(in_state("succeeded"))

            await tab.open(f"{host.url}/api/ui#deadletters?batch_id={batch_id}")
            await tab.wait_for("document.querySelector('#deadletter-list table')")

            rows = await tab.evaluate("document.querySelector('#deadletter-list tbody').textContent")
            assert hostile in rows
            assert await tab.evaluate("document.querySelectorAll('#deadletter-list :is(img, script)').length") == 0
            assert "owned" not in await tab.evaluate("document.title")


@pytest.mark.parametrize("address", ["constructor", "__proto__", "no-view", "%", "score/%E0%A4%A"])
async def test_an_address_of_no_view_shows_the_first_one(tab: Tab, api: str, address: str) -> None:
    await tab.open(f"{api}/ui#{address}")

    await tab.wait_for("document.querySelector('#readiness').textContent === 'ready'")
    assert await tab.evaluate("document.querySelector('#score').checkVisibility()")


async def test_a_link_to_a_batch_that_was_cut_off_says_that_there_is_none(tab: Tab, api: str) -> None:
    await tab.open(f"{api}/ui#batches/%E0%A4%A")

    await tab.wait_for("document.querySelector('#batch-detail .problem')")
    assert ["404" in complaint or "400" in complaint for complaint in tab.complaints] == [True]
    tab.complaints.clear()


async def test_a_packed_manifest_however_small_goes_as_it_is_and_a_long_id_fits_a_telephone(
    tab: Tab, api: str, tmp_path: Path
) -> None:
    batch_id = f"{uuid.uuid4().hex}-{'w' * 30}"
    (tmp_path / "two.csv.GZ").write_bytes(gzip.compress(b"url\nhttps://10.0.0.1/a.png\nhttps://10.0.0.1/b.png\n"))
    await tab.look(320, 640)
    await tab.open(f"{api}/ui#batches")
    await tab.choose_file("#manifest-file", tmp_path / "two.csv.GZ")
    await tab.wait_for("document.querySelector('#manifest-note').textContent.includes('is sent as it is')")
    await tab.fill("#batch-id", batch_id)
    await tab.click("#batch-submit")

    await tab.wait_for(in_state("succeeded"))
    assert "url_not_allowed 2" in await tab.text("#batch-detail")
    assert await tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


async def test_a_page_of_somebody_else_is_no_answer_and_the_view_looks_again(tab: Tab, api: str) -> None:
    await tab.open(f"{api}/ui#models")
    # As a proxy answers that wants a login.
    page = "new Response('<html>Sign in</html>', { headers: { 'content-type': 'text/html' } })"
    await tab.evaluate(f"window.real = window.fetch, window.fetch = async () => {page}, location.hash = '#batches'")
    await tab.wait_for("document.querySelector('#batch-list .problem')")
    assert await tab.text("#batch-list") == "What answered is not the service, or its reply was cut off."

    await tab.evaluate("window.fetch = window.real, null")
    await tab.wait_for("!document.querySelector('#batch-list .problem')")

    refusal = "new Response(JSON.stringify({ error: { code: 'Forbidden' } }), { status: 403 })"
    await tab.evaluate(f"window.fetch = async () => {refusal}, location.hash = '#models'")
    await tab.wait_for("document.querySelector('#model-list .problem')")
    assert "The service answered 403." in await tab.text("#model-list")


async def test_more_dead_letters_come_once_and_leave_focus_and_list_where_they_are(tab: Tab, api: str) -> None:
    batch_id = f"many-{uuid.uuid4().hex[:8]}"
    await tab.open(f"{api}/ui#batches")
    await tab.fill("#manifest-text", "\n".join(f"https://10.0.0.1/{index}.png" for index in range(450)))
    await tab.fill("#batch-id", batch_id)
    await tab.click("#batch-submit")
    await tab.wait_for(in_state("succeeded"))
    await tab.evaluate(f"location.hash = '#deadletters?batch_id={batch_id}'")
    await tab.wait_for("document.querySelector('#deadletter-list details')")

    await tab.evaluate("document.querySelector('#deadletter-list details').open = true")
    await tab.evaluate(
        """(() => {
          const button = document.querySelector("#deadletter-list button");
          button.focus();
          button.click();
          button.click();
        })()"""
    )
    await tab.wait_for("document.querySelector('#deadletter-list p').textContent !== '200 dead letters so far'")
    assert await tab.text("#deadletter-list p") == "400 dead letters so far"
    assert await tab.evaluate("document.activeElement.textContent") == "Load more"
    assert await tab.evaluate("document.querySelector('#deadletter-list details').open")

    await go_offline(tab, is_offline=True)
    await tab.click("#deadletter-list button")
    await tab.wait_for("document.querySelector('#deadletter-list .problem')")
    assert await tab.text("#deadletter-list p") == "400 dead letters so far"
    await go_offline(tab, is_offline=False)
    await tab.click("#deadletter-list button")
    await tab.wait_for("document.querySelector('#deadletter-list p').textContent === '450 dead letters'")
    assert all("ERR_INTERNET_DISCONNECTED" in complaint for complaint in tab.complaints)
    tab.complaints.clear()
