"""Owns what host and worker say to each other: invocations, their outcomes, and the values in them.

It refuses to know either side's machinery: both the host and the worker import it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec import Struct, field

from devhost.framing import Header


class Value(NamedTuple):
    """One binding value. `kind` is the Functions RPC's: string, bytes, json, int, double, http, or None for nothing.

    `data` is str for string and json, bytes for bytes, and a mapping with the key "body" (bytes) for http.
    """

    kind: str | None
    data: Any


#: The value of a trigger that carries none, such as a warm-up.
NOTHING = Value("string", "")


class Invocation(Struct, frozen=True):
    """What a worker needs to run one function once."""

    invocation_id: str
    function_id: str
    inputs: list[tuple[str, Value]]
    trigger_metadata: Mapping[str, Value] = field(default_factory=dict)
    trace_parent: str = ""
    trace_state: str = ""


class Outcome(Struct, frozen=True):
    """How an invocation ended: its values, or the text of the exception and its traceback."""

    succeeded: bool
    returned: Value | None = None
    outputs: Mapping[str, Value] = field(default_factory=dict)
    error: str = ""
    traceback: str = ""


def pack_value(value: Value, attachments: list[bytes]) -> list[Any]:
    """Make a value fit for a JSON header; its bytes go to `attachments`, in order."""
    kind, data = value
    if kind == "bytes":
        attachments.append(data)
        return [kind, len(data)]
    if kind == "http":
        body = data["body"]
        attachments.append(body)
        return [kind, {**data, "body": len(body)}]
    return [kind, data]


class Unpacker:
    """Turns packed values back, in the order in which they were packed."""

    def __init__(self, body: memoryview) -> None:
        self._body = body
        self._offset = 0

    def unpack(self, packed: list[Any]) -> Value:
        """Return the value, with its bytes copied out of the frame."""
        kind, data = packed
        if kind == "bytes":
            return Value(kind, self._take(data))
        if kind == "http":
            data["body"] = self._take(data["body"])
        return Value(kind, data)

    def _take(self, length: int) -> bytes:
        start, self._offset = self._offset, self._offset + length
        return bytes(self._body[start : self._offset])


def pack_invocation(number: int, invocation: Invocation) -> tuple[Header, list[bytes]]:
    """Return the header and attachments of an `invoke` frame."""
    attachments: list[bytes] = []
    header = {
        "op": "invoke",
        "n": number,
        "id": invocation.invocation_id,
        "function": invocation.function_id,
        "inputs": [[name, pack_value(value, attachments)] for name, value in invocation.inputs],
        "metadata": {name: pack_value(value, attachments) for name, value in invocation.trigger_metadata.items()},
        "traceparent": invocation.trace_parent,
        "tracestate": invocation.trace_state,
    }
    return header, attachments


def unpack_invocation(header: Header, body: memoryview) -> Invocation:
    """Read an `invoke` frame."""
    unpacker = Unpacker(body)
    return Invocation(
        invocation_id=header["id"],
        function_id=header["function"],
        inputs=[(name, unpacker.unpack(packed)) for name, packed in header["inputs"]],
        trigger_metadata={name: unpacker.unpack(packed) for name, packed in header["metadata"].items()},
        trace_parent=header["traceparent"],
        trace_state=header["tracestate"],
    )


def pack_outcome(number: int, outcome: Outcome) -> tuple[Header, list[bytes]]:
    """Return the header and attachments of an `outcome` frame."""
    attachments: list[bytes] = []
    header = {
        "op": "outcome",
        "n": number,
        "ok": outcome.succeeded,
        "return": None if outcome.returned is None else pack_value(outcome.returned, attachments),
        "outputs": {name: pack_value(value, attachments) for name, value in outcome.outputs.items()},
        "error": _encodable(outcome.error),
        "traceback": _encodable(outcome.traceback),
    }
    return header, attachments


def _encodable(text: str) -> str:
    """Escape lone surrogates, such as those in the name of a file, which JSON has no form for."""
    return text.encode(errors="backslashreplace").decode()


def unpack_outcome(header: Header, body: memoryview) -> Outcome:
    """Read an `outcome` frame."""
    unpacker = Unpacker(body)
    return Outcome(
        succeeded=header["ok"],
        returned=None if header["return"] is None else unpacker.unpack(header["return"]),
        outputs={name: unpacker.unpack(packed) for name, packed in header["outputs"].items()},
        error=header["error"],
        traceback=header["traceback"],
    )
