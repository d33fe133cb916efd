"""A page made self-contained: its scripts and styles inlined, and a policy that lets exactly these run.

It refuses scripts from anywhere else: the policy names the hash of each inlined file, never `unsafe-inline`.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files

from msgspec import Struct, field

_FILES = files("inference.http.static")
_SCRIPT = re.compile(r'<script src="([a-z-]+\.js)"></script>')
_STYLE = re.compile(r'<link rel="stylesheet" href="([a-z-]+\.css)">')


class Page(Struct, frozen=True):
    """One HTML page as it is served."""

    html: bytes
    #: The value of Content-Security-Policy.
    policy: str
    #: A strong validator, quoted as the header wants it.
    etag: str


def load_page(name: str) -> Page:
    """Return the page `name` (`console.html`) with every file that it refers to put in its place."""
    styles, scripts = _Inline("style"), _Inline("script")
    html = _FILES.joinpath(name).read_text("utf-8")
    body = _SCRIPT.sub(scripts, _STYLE.sub(styles, html)).encode()
    return Page(body, _policy(scripts.hashes, styles.hashes), f'"{hashlib.sha256(body).hexdigest()[:32]}"')


class _Inline(Struct, frozen=True):
    """Replaces a reference to a file by its text and notes the hash of that text."""

    tag: str
    hashes: list[str] = field(default_factory=list)

    def __call__(self, reference: re.Match[str]) -> str:
        text = _FILES.joinpath(reference[1]).read_text("utf-8")
        if f"</{self.tag}" in text.lower():
            # The browser would end the element there, and run the rest as HTML.
            raise ValueError(f"{reference[1]} contains </{self.tag}")
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        self.hashes.append(f"'sha256-{digest}'")
        return f"<{self.tag}>{text}</{self.tag}>"


def _policy(scripts: list[str], styles: list[str]) -> str:
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(scripts)}",
            f"style-src {' '.join(styles)}",
            "connect-src 'self'",
            # The console shows the picture that the user names by url, wherever it is.
            "img-src 'self' blob: data: https: http:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            # No string can become markup or code, so that text from a model or a manifest cannot either.
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )
