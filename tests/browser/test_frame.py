"""The console's frame in a real browser: its views, by address and by keyboard."""

from __future__ import annotations

from tests.browser.chromium import Tab

VISIBLE = "[...document.querySelectorAll('main > section')].filter((one) => !one.hidden).map((one) => one.id).join()"


async def test_skipping_to_the_content_stays_in_the_view(tab: Tab, api: str) -> None:
    await tab.open(f"{api}/ui#batches")
    await tab.click(".skip")

    assert await tab.evaluate("document.activeElement.id") == "main"
    assert await tab.evaluate(VISIBLE) == "batches"
    assert await tab.evaluate("location.hash") == "#batches"


async def test_an_address_that_was_cut_off_is_a_batch_that_is_not_there(tab: Tab, api: str) -> None:
    await tab.open(f"{api}/ui#batches/caf%C3%")
    await tab.wait_for("document.querySelector('#batch-detail .problem')")

    assert "batch_not_found" in await tab.text("#batch-detail")
    assert ["404" in complaint for complaint in tab.complaints] == [True]  # the browser's own note
    tab.complaints.clear()


async def test_a_file_dropped_beside_the_zone_does_not_replace_the_console(tab: Tab, api: str) -> None:
    await tab.open(f"{api}/ui")

    is_taken = await tab.evaluate(
        """(() => {
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File(["x"], "x.png"));
          const drop = new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
          return !document.body.dispatchEvent(drop);
        })()"""
    )

    assert is_taken
