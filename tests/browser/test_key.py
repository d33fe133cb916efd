"""The console where the service asks for a function key."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.browser.chromium import Tab
from tests.browser.conftest import warm
from tests.hosting import HostProcess
from tests.service.conftest import ROOT, SCANS, environment


def app_with_keys_of_its_own(folder: Path) -> Path:
    folder.mkdir()
    for name in ("function_app.py", "host.json"):
        shutil.copy(ROOT / name, folder / name)
    return folder


async def test_the_key_is_asked_for_sent_as_a_header_and_kept_in_the_tab_alone(
    tab: Tab, azurite: str, tmp_path: Path
) -> None:
    folder = app_with_keys_of_its_own(tmp_path / "app")
    with HostProcess(folder, environment=environment(azurite), arguments=["--enable-auth"]) as host:
        api = await warm(host)
        secrets = json.loads((folder / ".devhost/secrets/host.json").read_text())
        key = secrets["functionKeys"][0]["value"]
        await tab.open(f"{api}/ui")

        await tab.choose_file("#image-file", SCANS / "digit-7-a.png")
        await tab.wait_for("document.querySelector('#score-result .problem')")
        assert "This service asks for a function key." in await tab.text("#score-result")
        assert await tab.evaluate("document.querySelector('#key').hasAttribute('aria-invalid')")
        assert all("401" in complaint for complaint in tab.complaints)
        tab.complaints.clear()

        await tab.fill("#key", key)
        await tab.click("#score-again")
        await tab.wait_for("document.querySelector('#score-result .predictions')")

        assert await tab.text(".predictions li .label") == "7"
        page = await tab.evaluate("document.documentElement.outerHTML + location.href + document.cookie")
        assert key not in page
        assert await tab.evaluate("localStorage.length") == 0
        assert await tab.evaluate("sessionStorage.getItem('functions-key')") == key
        assert key not in host.output
