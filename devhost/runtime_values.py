"""Owns the translation between the host's values and the library worker's Datum, and the record classes it asks for."""

from http.cookies import SimpleCookie
from typing import Any

import orjson
from azure_functions_runtime.bindings.datumdef import Datum

from devhost.messages import Value


class _Record:
    """A plain record in place of a protobuf message: keeps the keyword arguments as attributes."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class _BindingInfo(_Record):
    """`BindingInfo` with the directions of the Functions RPC, and the one data type that errors are worded by."""

    undefined = 0
    out = 1
    inout = 2


setattr(_BindingInfo, "in", 0)


class RuntimeProtos:
    """The three messages that `handle_event.load_function_metadata` builds; no protobuf involved."""

    BindingInfo = _BindingInfo
    RpcFunctionMetadata = _Record
    RpcRetryOptions = _Record


def _string(text: str) -> Datum:
    return Datum(text, "string")


def to_datum(value: Value) -> Datum:
    """Make the library worker's form of a value."""
    kind, data = value
    if kind != "http":
        return Datum(data, kind)
    return Datum(
        {
            "method": _string(data["method"]),
            "url": _string(data["url"]),
            "headers": {name: _string(text) for name, text in data["headers"].items()},
            "params": {name: _string(text) for name, text in data["params"].items()},
            "query": {name: _string(text) for name, text in data["query"].items()},
            "body": Datum(data["body"], "bytes"),
        },
        "http",
    )


def from_datum(datum: Datum) -> Value:
    """Make the host's form of a value that a function gave, as `datumdef.datum_as_proto` would for the real host."""
    kind, data = datum.type, datum.value
    if kind == "http":
        return Value("http", _http_reply(data))
    if kind in {"dict", "list"}:
        return Value("json", orjson.dumps(data).decode())
    if kind == "bool":
        return Value("int", int(data))
    return Value(kind, data)


def _http_reply(reply: dict[str, Any]) -> dict[str, Any]:
    cookies: list[SimpleCookie] = reply["cookies"] or []
    return {
        "status": int(reply["status_code"].value),
        "headers": {name: datum.value for name, datum in reply["headers"].items()},
        "cookies": [morsel.OutputString() for cookie in cookies for morsel in cookie.values()],
        "body": reply["body"].value,
    }
