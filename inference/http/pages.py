"""The API described, for programs and for readers, and the console; it refuses to hold any page's text."""

from __future__ import annotations

from functools import cache

from inference.http.messages import Request, Response, json_response
from inference.http.openapi import document
from inference.http.page import Page, load_page

_load_page = cache(load_page)


class PageRoutes:
    """Handlers of `/openapi.json`, `/docs` and `/ui`."""

    def __init__(self, version: str) -> None:
        self._version = version

    async def openapi(self, request: Request) -> Response:
        """Describe this API, its server being the one that the caller reached."""
        headers = {"cache-control": "no-cache", "x-content-type-options": "nosniff"}
        return json_response(document(self._version, request.base_url), headers=headers)

    async def docs(self, request: Request) -> Response:
        """Show the description to a reader."""
        return _page_response(_load_page("docs.html"), request)

    async def ui(self, request: Request) -> Response:
        """Show the console, where images are scored and batches looked after."""
        return _page_response(_load_page("console.html"), request)


def _page_response(page: Page, request: Request) -> Response:
    # `no-cache`: kept by the browser, but asked about each time, so that a deployment is seen at once.
    headers = {
        "cache-control": "no-cache",
        "content-security-policy": page.policy,
        # With 304 too, whose headers a cache between takes over (RFC 9111, section 3.2): azure.functions calls a reply
        # without a type plain text.
        "content-type": "text/html; charset=utf-8",
        "cross-origin-opener-policy": "same-origin",
        "etag": page.etag,
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }
    if page.etag in request.headers.get("if-none-match", ""):
        return Response(304, headers=headers)
    return Response(200, page.html, headers)
