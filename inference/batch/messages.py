"""Owns the wire form of queue messages: what users drop, and what the batch path sends to itself.

It refuses to open anything that a message points to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NoReturn, Self

import msgspec
import orjson
from msgspec import Meta, field

from inference.batch.layout import check_batch_id
from inference.errors import InvalidManifest, InvalidMessage
from inference.schema import Misfit, Record, Table, read, read_table
from inference.settings import MAX_MINI_BATCH_SIZE

VERSION: Literal[1] = 1

#: Nesting that `parameters` may have; deeper is an attack or a mistake.
_MAX_DEPTH = 20
#: Of a whole number that orjson can write again, or of one less and a minus.
_MAX_DIGITS = 20
_MAX_RETRIES = 100

type Traceparent = Annotated[str, Meta(pattern=r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")]
type Count = Annotated[int, Meta(ge=0)]


class ManifestMessage(Table, frozen=True, omit_defaults=True):
    """What a user drops on `batch-manifests` or posts as JSON; an unknown field is refused."""

    v: Literal[1] = 1
    batch_id: str | None = None
    model: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    #: Urls and `{"id"?, "url"}` objects; `inference.batch.manifest` reads them, as it reads the lines of a blob.
    images: Annotated[list[Any], Meta(min_length=1)] | None = None
    #: Path in the container `manifests`, or the url of a blob (or, ending in a slash, of blobs) of the app's account.
    manifest: Annotated[str, Meta(min_length=1, max_length=2048)] | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    mini_batch_size: Annotated[int, Meta(ge=1, le=MAX_MINI_BATCH_SIZE)] | None = None
    #: Failed items past which the whole batch fails; -1 never (Azure ML's default and meaning).
    error_threshold: Annotated[int, Meta(ge=-1, le=2**63 - 1)] = -1
    max_retries: Annotated[int, Meta(ge=0, le=_MAX_RETRIES)] | None = None
    #: Where to POST how the batch ended. Not part of what it is: the first submission's counts.
    callback_url: Annotated[str, Meta(min_length=1, max_length=2048)] | None = None
    #: Put in by the HTTP door, so that one trace leads from the request to the rows.
    traceparent: Traceparent | None = None

    def __post_init__(self) -> None:
        if (self.images is None) == (self.manifest is None):
            raise ValueError("exactly one of images and manifest must be given")
        if self.batch_id is not None:
            check_batch_id(self.batch_id)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a message strictly. Raises InvalidManifest that says where it is wrong."""
        value = read_json(body)
        if not isinstance(value, dict):
            raise InvalidManifest("A manifest message is a JSON object.")
        return cls.of(value)

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Self:
        """Check a message that is parsed already; a null is what is not there. Raises InvalidManifest."""
        given = {name: part for name, part in value.items() if part is not None or name not in cls.__struct_fields__}
        try:
            return read_table(cls, given)
        except Misfit as exc:
            raise InvalidManifest(f"{exc}.") from None

    def encode(self) -> bytes:
        """Return the message as JSON, without what was not given."""
        return msgspec.json.encode(self)

    @property
    def settings(self) -> dict[str, Any]:
        """What besides the items makes this batch what it is; part of its digest."""
        names = {"model", "parameters", "mini_batch_size", "error_threshold", "max_retries"}
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @property
    def key(self) -> str:
        """A digest of what is asked, the same however often and under whichever trace it is sent."""
        return digest({**self.settings, "images": self.images, "manifest": self.manifest})[:16]


class WorkMessage(Record, frozen=True, kw_only=True):
    """What the batch path sends to itself."""

    v: Literal[1] = VERSION
    batch_id: str
    #: The round of replay that it works for; 0 is the batch as submitted.
    round: Count = 0
    #: Seconds that it was sent with: at least so many have passed when it arrives, whatever any clock says.
    delay_seconds: Annotated[float, Meta(ge=0)] = 0
    #: How often it came back from the poison queue.
    recoveries: Count = 0
    traceparent: Traceparent | None = None

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read one of our own messages. Raises InvalidMessage."""
        try:
            message = read(cls, orjson.loads(body))
            check_batch_id(message.batch_id)
        except orjson.JSONDecodeError:
            raise InvalidMessage("The message is not JSON.") from None
        except Misfit as exc:
            raise InvalidMessage(f"{exc}.") from None
        except InvalidManifest as exc:
            raise InvalidMessage(exc.message) from None
        return message

    def encode(self) -> bytes:
        """Return the message as JSON."""
        return orjson.dumps({name: value for name, value in self.as_dict().items() if value is not None})


class ShardMessage(WorkMessage, frozen=True, kw_only=True):
    """Score the items [first, first + count) of one shard that have no final row."""

    shard: Count
    #: Bytes [offset, offset + bytes) of the canonical manifest are the whole shard; 0 bytes: the table of shards is
    #: gone, so nobody knows.
    offset: Count
    bytes: Count
    first: Count
    count: Annotated[int, Meta(gt=0)]
    #: Place in the chain of messages for this shard; a row remembers which one comes next (docs, batch protocol).
    turn: Count = 0
    #: Deliveries in a row that gave up because of a failure of ours; they make the next delay longer.
    stalls: Count = 0
    #: The range is a part of one that took its worker down.
    is_suspect: bool = False


class FinishMessage(WorkMessage, frozen=True, kw_only=True):
    """Look whether the batch has ended, and end it or look again later."""

    #: Final rows seen by the last look, and seconds of delays since the batch last moved.
    done: Count = 0
    turns: Count = 0
    quiet_seconds: Annotated[float, Meta(ge=0)] = 0
    #: The stop that shards in back-off were already told of.
    told_stop: int = -1
    #: One look on somebody's behalf, beside the chain of looks that goes on anyway.
    is_errand: bool = False
    #: The event that the batch's callback url is to be told, instead of a look; and attempts that it failed before.
    event: dict[str, Any] | None = None
    attempts: Count = 0


def digest(value: object) -> str:
    """Return the SHA-256 of a JSON value, independent of the order of keys."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


def read_json(body: bytes) -> Any:
    """Parse JSON as strictly as it can be: UTF-8, no duplicate keys, no NaN, bounded depth. Raises InvalidManifest.

    A byte order mark, which Windows writes before text, is passed over.
    """
    try:
        value = json.loads(
            body.decode("utf-8-sig"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
            parse_int=_read_whole,
        )
    except UnicodeDecodeError:
        raise InvalidManifest("The manifest is not UTF-8 text.") from None
    except json.JSONDecodeError as exc:
        raise InvalidManifest(f"line {exc.lineno}: not JSON ({exc.msg}).") from None
    except RecursionError:
        raise InvalidManifest("The manifest is nested too deeply.") from None
    except ValueError as exc:
        raise InvalidManifest(str(exc)) from None
    _check_encodable(value)
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("A key stands twice in one object.")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON.")


def _read_whole(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:  # Python's own refusal, from 4301 digits, names a switch of the interpreter
        raise ValueError("A whole number has more than 64 bits.")
    return int(digits)


def _check_encodable(value: object) -> None:
    """Refuse what cannot be written again: lone surrogates, integers past 64 bits, deep nesting."""
    try:
        orjson.dumps(value)
    except TypeError as exc:
        raise InvalidManifest(f"The manifest cannot be kept as JSON: {exc}.") from None
    level: list[Any] = [value]
    for _ in range(_MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise InvalidManifest("The manifest is nested too deeply.")


def _children(value: object) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
