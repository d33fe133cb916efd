"""Owns the text form of queue messages: base64, as Functions users send them, or the JSON itself.

It refuses nothing. host.json leaves the text alone (`messageEncoding: none`), because the host moves a message that it
cannot decode to the poison queue before any of our code runs, with no reason and no log
(azure-sdk-for-net #21449); so decoded here, the same message is a dead letter that says what is wrong with it.
"""

from __future__ import annotations

import base64


def decode_text(text: bytes) -> bytes:
    """Return the body of a message: decoded when the text is base64, else the text as it is.

    White space in it is passed over, as .NET's decoder does. No JSON object is base64, since a brace is not in its
    alphabet, so the two cannot be mistaken for each other.
    """
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except ValueError:
        return text
