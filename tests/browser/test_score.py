"""The console's Score view in a real browser, against the running service."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from inference.models.manifest import write_manifest
from tests.browser.chromium import Tab
from tests.browser.conftest import warm
from tests.hosting import HostProcess
from tests.service.conftest import ROOT, SCANS, environment

RESULT = "document.querySelector('#score-result .predictions')"


def publish_with_labels(folder: Path, labels: list[str]) -> None:
    """Publish the sample model under other labels, as someone may who wants to harm the console's users."""
    version = folder / "digits" / "1"
    shutil.copytree(ROOT / "samples/models/digits/1", version)
    data = "\n".join(labels).encode()
    (version / "labels.txt").write_bytes(data)
    manifest = json.loads((version / "manifest.json").read_text())
    manifest["files"]["labels.txt"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (version / "manifest.json").write_text(json.dumps(manifest))


def publish_script(folder: Path, script: str) -> None:
    """Publish a version of the default model that is a `score.py` alone."""
    version = folder / "digits" / "1"
    version.mkdir(parents=True)
    (version / "score.py").write_text(script)
    write_manifest(version)


async def test_a_picked_image_is_scored_and_shown_with_its_predictions(tab: Tab, api: str) -> None:
    await tab.open(f"{api}/ui")
    await tab.wait_for("document.querySelector('#readiness').textContent === 'ready'")

    await tab.choose_file("#image-file", SCANS / "digit-7-a.png")
    await tab.wait_for(RESULT)

    assert await tab.text(".predictions li .label") == "7"
    assert "%" in await tab.text(".predictions li .number")
    assert "digits version 1 · classification" in await tab.text("#score-result")
    for stage in ("decode", "preprocess", "queue", "run", "postprocess"):
        assert stage in await tab.text(".legend")
    await tab.wait_for("document.querySelector('.picture img').naturalWidth > 0")
    assert await tab.evaluate("document.querySelector('#announcement').textContent.startsWith('7, ')")


async def test_the_options_are_part_of_the_request_and_of_its_command(tab: Tab, api: str) -> None:
    await tab.open(f"{api}/ui")
    await tab.wait_for("document.querySelector('#score-model option[value=digits]')")
    await tab.fill("#score-model", "digits")
    await tab.fill("#top-k", "2")

    await tab.choose_file("#image-file", SCANS / "digit-3-b.jpg")
    await tab.wait_for(RESULT)

    assert await tab.evaluate("document.querySelectorAll('.predictions li').length") == 2
    command = await tab.evaluate("document.querySelector('#score-result pre').textContent")
    assert f"'{api}/models/digits/score?top_k=2'" in command
    assert "--data-binary @digit-3-b.jpg" in command


async def test_a_model_of_texts_is_given_a_text(tab: Tab, api: str) -> None:
    text = "The oak in our garden fell through the kitchen's roof."
    await tab.open(f"{api}/ui")
    await tab.wait_for("document.querySelector('#score-model option[value=claims]')")
    await tab.fill("#score-model", "claims")
    await tab.wait_for("document.querySelector('#text-input').checkVisibility()")
    assert await tab.evaluate("document.querySelector('#drop').checkVisibility()") is False

    await tab.fill("#text-input", text)
    await tab.fill("#top-k", "1")
    await tab.click("#text-form button")
    await tab.wait_for(RESULT)

    assert await tab.text(".predictions li .label") == "home"
    assert "claims version 1 · text" in await tab.text("#score-result")
    command = await tab.evaluate("document.querySelector('#score-result pre').textContent")
    assert (
        json.dumps({"text": text, "parameters": {"top_k": 1}}, separators=(",", ":")).replace("'", "'\\''") in command
    )

    await tab.fill("#score-model", "digits")
    await tab.wait_for("document.querySelector('#drop').checkVisibility()")
    assert await tab.evaluate("document.querySelector('#score-again').hidden")


async def test_the_default_model_says_which_field_is_shown(tab: Tab, chromium: str, azurite: str) -> None:
    with HostProcess(ROOT, environment=environment(azurite, INFERENCE_DEFAULT_MODEL="claims")) as host:
        await tab.open(f"{await warm(host)}/ui")

        await tab.wait_for("document.querySelector('#text-input').checkVisibility()")


async def test_an_error_is_told_with_its_code_and_request_id(tab: Tab, api: str) -> None:
    await tab.open(f"{api}/ui")
    await tab.fill("#source-url", "https://127.0.0.1/secret.png")
    await tab.click("#url-form button")
    await tab.wait_for("document.querySelector('#score-result .problem')")

    assert "url_not_allowed · HTTP 422 · request " in await tab.text("#score-result .problem")
    # The browser itself logs a reply of 422.
    assert ["422" in complaint for complaint in tab.complaints] == [True]
    tab.complaints.clear()


async def test_a_label_that_looks_like_markup_stays_text(tab: Tab, tmp_path: Path, chromium: str, azurite: str) -> None:
    labels = [f"<img src=x onerror=\"document.title='owned'\">{digit}</script>" for digit in range(10)]
    publish_with_labels(tmp_path / "models", labels)
    settings = environment(azurite) | {"INFERENCE_MODEL_REPOSITORY": str(tmp_path / "models")}

    with HostProcess(ROOT, environment=settings) as host:
        await tab.open(f"{await warm(host)}/ui")
        await tab.choose_file("#image-file", SCANS / "digit-7-a.png")
        await tab.wait_for(RESULT)

        assert await tab.text(".predictions li .label") == labels[7]
        assert await tab.evaluate("document.querySelector('.predictions').querySelectorAll('img').length") == 0
        assert await tab.evaluate("document.title") == "ONNX Functions console"


async def test_what_a_score_py_answers_is_shown_as_it_is(tab: Tab, tmp_path: Path, chromium: str, azurite: str) -> None:
    publish_script(tmp_path / "models", "def init(): pass\ndef run(data): return [1, 2]\n")
    settings = environment(azurite) | {
        "INFERENCE_MODEL_REPOSITORY": str(tmp_path / "models"),
        "INFERENCE_SCORE_SCRIPTS": "true",
    }

    with HostProcess(ROOT, environment=settings) as host:
        await tab.open(f"{await warm(host)}/ui")
        await tab.fill("#source-url", "https://example.com/7.png")
        await tab.click("#url-form button")
        await tab.wait_for("document.querySelector('#score-result pre')")

        assert json.loads(await tab.text("#score-result pre")) == [1, 2]


async def test_the_policy_stops_a_script_that_got_into_the_page(tab: Tab, api: str) -> None:
    await tab.open(f"{api}/ui")

    stopped_by = await tab.evaluate(
        """new Promise((resolve) => {
          document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
          const script = document.createElement("script");
          script.append("document.title = 'owned'");
          document.head.append(script);
        })"""
    )

    assert stopped_by in {"require-trusted-types-for", "script-src-elem"}
    assert await tab.evaluate("document.title") == "ONNX Functions console"
    assert tab.complaints
    tab.complaints.clear()
