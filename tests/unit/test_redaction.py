"""What is shown of a url, and what never is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.redaction import redact_text, redact_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.com/a.png", "https://example.com/a.png"),
        ("https://example.com:8443/a.png?sig=SECRET", "https://example.com:8443/a.png?…"),
        ("https://example.com/a.png?", "https://example.com/a.png?…"),
        ("https://example.com/a.png#SECRET", "https://example.com/a.png"),
        ("https://example.com/a.png#x?SECRET", "https://example.com/a.png"),
        ("https://example.com?SECRET", "https://example.com?…"),
        ("https:///user:SECRET@example.com/a.png", "https://…"),
        ("https://user:SECRET@example.com:8443/a.png?SECRET", "https://example.com:8443/a.png?…"),
        ("https://user:@/SECRET@example.com/", "https://…"),
        ("https://SECRET@example.com", "https://example.com"),
        ("https://user:SE@CRET@example.com/", "https://example.com/"),
        ("https://user:SECRET/x@example.com/", "https://…"),
        ("https://user:SECRET?x@example.com/", "https://…"),
        ("https://user:SECRET#x@example.com/", "https://…"),
        ("https://user:123/SECRET@example.com/", "https://…"),
        ("https://[::1]:9000/a?SECRET", "https://[::1]:9000/a?…"),
        ("https://example.com/@me/a.png", "https://example.com/@me/a.png"),
        ("data:image/png;base64,SECRET", "data…"),
        ("user:SECRET@host/a", "user…"),
        ("a.png?SECRET", "a.png…"),
        ("?SECRET", "…"),
        ("cats/a.png", "cats/a.png"),
        ("", ""),
        (
            "https://example.com/a\r\nfake: line\u2028\x1b[31m\ud800",
            "https://example.com/a\ufffd\ufffdfake: line\ufffd\ufffd[31m\ufffd",
        ),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert redact_url(url) == shown


@given(st.text())
def test_any_text_can_be_shown_on_one_line(text: str) -> None:
    for url in (text, f"https://{text}", f"https://example.com/{text}"):
        shown = redact_url(url)

        assert len(shown.splitlines()) <= 1
        assert shown.isprintable()


@given(st.text("abc/:@?#[]1", max_size=12), st.text("abc/:@?#[]1", max_size=12))
def test_no_user_information_that_holds_a_password_is_shown(before: str, after: str) -> None:
    url = f"https://user:{before}SECRET{after}@example.com/a.png?{after}SECRET"

    assert "SECRET" not in redact_url(url)


def test_a_long_text_is_cut() -> None:
    assert len(redact_url("https://example.com/" + "a" * 100_000)) <= 2100


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"images": ["https://h/a?sig=SECRET"]}', '{"images": ["https://h/a?…"]}'),
        ('{"images": ["https:\\/\\/h\\/a?sig=SECRET"]}', '{"images": ["https://h/a?…"]}'),
        ('{"images": ["https://h/a\\u003fsig=SECRET"]}', '{"images": ["https://h/a?…"]}'),
        ('{"images": ["https:\\u002f\\u002fh/a?sig=SECRET"]}', '{"images": ["https://h/a?…"]}'),
        ('{"images": ["https://h/a\\q?sig=SECRET"]}', '{"images": ["https://h/a…"]}'),
        ("url\nhttps://h/a?sig=SECRET\nhttps://user:SECRET@h/b", "url\nhttps://h/a?…\nhttps://h/b"),
        ("https://h/it's.jpg?sig=SECRET", "https://h/it's.jpg?…"),
        ('{"images": ["https:/h/a?sig=SECRET"]}', '{"images": ["https:/h/a?…"]}'),
        ('{"images": ["//user:SECRET@h/a"]}', '{"images": ["//h/a"]}'),
        ('{"manifest": "x.jsonl?sig=SECRET"}', '{"manifest": "x.jsonl?…"}'),
        ("AccountName=a;AccountKey=SECRET==;EndpointSuffix=b", "AccountName=a;AccountKey=…;EndpointSuffix=b"),
        ("AccountKey\\u003dSECRET\\u003d\\u003D;a", "AccountKey\\u003d…;a"),
        ("SharedAccessSignature=SECRET", "SharedAccessSignature=…"),
        ("no url: SECRET stays", "no url: SECRET stays"),
    ],
)
def test_every_url_in_a_text_is_redacted(text: str, shown: str) -> None:
    assert redact_text(text) == shown
