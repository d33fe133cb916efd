"""The pages: self-contained, and under a policy that lets nothing but their own files run."""

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from html.parser import HTMLParser
from importlib.resources import files

import orjson
import pytest

from inference.http import page as page_module
from inference.http.messages import Request, Response
from inference.http.page import load_page
from inference.http.pages import PageRoutes

REQUEST = Request("GET", "https://app.example/api")
STATIC = files("inference.http.static")
SCRIPTS = sorted(file.name for file in STATIC.iterdir() if file.name.endswith(".js"))
#: Ways to turn a string into markup or code.
SINKS = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|localStorage")

type Handler = Callable[[Request], Awaitable[Response]]


class Elements(HTMLParser):
    """The elements of a page: names, attributes, and the text of scripts and styles."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inlined: dict[str, list[str]] = {"script": [], "style": []}
        self._inside: str | None = None
        self.feed(html.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag in self.inlined:
            self._inside = tag
            self.inlined[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.inlined[self._inside][-1] += data


@pytest.fixture(params=["docs", "ui"])
def handler(request: pytest.FixtureRequest) -> Handler:
    handler: Handler = getattr(PageRoutes("1.2.3"), request.param)
    return handler


async def test_the_description_is_json_for_the_server_that_was_asked() -> None:
    response = await PageRoutes("1.2.3").openapi(REQUEST)

    assert response.headers["content-type"] == "application/json"
    assert orjson.loads(response.body)["servers"] == [{"url": "https://app.example/api"}]
    assert orjson.loads(response.body)["info"]["version"] == "1.2.3"


async def test_a_page_loads_nothing_from_elsewhere(handler: Handler) -> None:
    response = await handler(REQUEST)

    assert response.status == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    for tag, attributes in Elements(response.body).found:
        assert "src" not in attributes, f"<{tag}> loads {attributes['src']}"
        if tag == "link":
            assert (attributes["href"] or "").startswith("data:")


async def test_the_policy_allows_just_the_scripts_and_styles_of_the_page(handler: Handler) -> None:
    response = await handler(REQUEST)
    directives = dict(one.split(" ", 1) for one in response.headers["content-security-policy"].split("; "))
    elements = Elements(response.body)

    for name, texts in elements.inlined.items():
        digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
        assert directives[f"{name}-src"].split() == [f"'sha256-{digest}'" for digest in digests]
        assert texts
    assert "unsafe" not in response.headers["content-security-policy"]
    assert directives["default-src"] == "'none'"
    assert directives["connect-src"] == "'self'"
    assert directives["frame-ancestors"] == "'none'"


async def test_no_element_carries_a_script_or_a_style_that_the_policy_would_block(handler: Handler) -> None:
    for tag, attributes in Elements((await handler(REQUEST)).body).found:
        blocked = [name for name in attributes if name == "style" or name.startswith("on")]
        assert not blocked, f"<{tag}> has {blocked}"


async def test_a_page_tells_browsers_to_guess_and_leak_nothing(handler: Handler) -> None:
    headers = (await handler(REQUEST)).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-cache"


async def test_a_page_that_the_browser_has_is_not_sent_again(handler: Handler) -> None:
    first = await handler(REQUEST)

    again = await handler(Request("GET", "", headers={"if-none-match": first.headers["etag"]}))
    other = await handler(Request("GET", "", headers={"if-none-match": '"other"'}))
    assert (again.status, again.body) == (304, b"")
    assert again.headers == first.headers  # a cache between takes them over, the type among them
    assert other.status == 200


async def test_every_field_of_the_console_has_a_label() -> None:
    elements = Elements((await PageRoutes("1").ui(REQUEST)).body).found
    labelled = {attributes["for"] for tag, attributes in elements if tag == "label"}
    fields = {attributes["id"] for tag, attributes in elements if tag in {"input", "select", "textarea"}}

    assert fields == labelled


async def test_ids_of_a_page_are_unique(handler: Handler) -> None:
    elements = Elements((await handler(REQUEST)).body).found
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]

    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_turns_no_string_into_markup_or_code_and_is_part_of_a_page(script: str) -> None:
    text = STATIC.joinpath(script).read_text("utf-8")
    pages = "".join(STATIC.joinpath(name).read_text("utf-8") for name in ("console.html", "docs.html"))

    assert not SINKS.search(text)
    assert text.startswith('"use strict";\n')
    assert f'<script src="{script}"></script>' in pages


def test_a_script_that_would_end_its_own_element_is_refused(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("static")
    (folder / "page.html").write_text('<script src="bad.js"></script>')
    (folder / "bad.js").write_text('const text = "</SCRIPT><img src=x>";')
    monkeypatch.setattr(page_module, "_FILES", folder)

    with pytest.raises(ValueError, match=r"bad\.js"):
        load_page("page.html")
