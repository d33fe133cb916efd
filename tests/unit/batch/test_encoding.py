"""Messages in base64, as plain JSON, and as neither."""

import base64

import pytest

from inference.batch.encoding import decode_text

BODY = b'{"images": ["https://host/a.png"]}'


@pytest.mark.parametrize(
    ("text", "body"),
    [
        (base64.b64encode(BODY), BODY),
        (base64.b64encode(BODY) + b"\r\n", BODY),
        (base64.encodebytes(BODY * 3), BODY * 3),
        (BODY, BODY),
        (b"\xef\xbb\xbf" + BODY, b"\xef\xbb\xbf" + BODY),
        (b"neither {", b"neither {"),
        ("één".encode(), "één".encode()),
        (base64.b64encode(BODY)[:-1], base64.b64encode(BODY)[:-1]),
        (b"", b""),
    ],
)
def test_text_is_decoded_where_it_is_base64(text: bytes, body: bytes) -> None:
    assert decode_text(text) == body
