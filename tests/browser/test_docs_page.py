"""The documentation page in a real browser: it shows what openapi.json says."""

from __future__ import annotations

import aiohttp

from tests.browser.chromium import Tab


async def test_every_operation_schema_and_code_is_shown(tab: Tab, api: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{api}/openapi.json") as response:
        document = await response.json()
    operations = {one["operationId"] for path in document["paths"].values() for one in path.values()}

    await tab.open(f"{api}/docs")
    await tab.wait_for("document.querySelector('.operation')")

    shown = await tab.evaluate("[...document.querySelectorAll('.operation')].map((node) => node.id)")
    assert set(shown) == operations
    text = await tab.text("main")
    for row in document["x-error-codes"]:
        assert row["code"] in text
    for name in document["components"]["schemas"]:
        assert name == "ErrorCode" or await tab.evaluate(f"Boolean(document.getElementById('schema-{name}'))")
    assert "[object Object]" not in text
    assert "undefined" not in text


async def test_every_link_of_the_page_leads_to_a_place_on_it(tab: Tab, api: str) -> None:
    await tab.open(f"{api}/docs")
    await tab.wait_for("document.querySelector('.operation')")

    lost = await tab.evaluate(
        """[...document.querySelectorAll("a[href^='#']")]
             .map((link) => link.hash.slice(1))
             .filter((id) => !document.getElementById(id))"""
    )
    assert lost == []


async def test_a_command_shown_for_a_body_names_the_server_and_the_variable_of_the_key(tab: Tab, api: str) -> None:
    await tab.open(f"{api}/docs")
    await tab.wait_for("document.querySelector('.operation')")

    commands = await tab.evaluate("[...document.querySelectorAll('#score pre')].map((node) => node.textContent)")
    with_image = next(text for text in commands if "content-type: image/png" in text)
    assert with_image.splitlines()[0] == f"curl {api}/score \\"
    assert '-H "x-functions-key: $FUNCTIONS_KEY"' in with_image
