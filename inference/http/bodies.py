"""The body forms of a score request, each read into the same few values; it refuses to score."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Annotated, Any

import orjson
from msgspec import Meta, Struct
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import MultiPartParser
from werkzeug.http import parse_options_header

from inference.errors import InvalidRequest, ItemRejected, PayloadTooLarge, TooManyInputs, UnsupportedMediaType
from inference.http.messages import Request
from inference.image.formats import identify
from inference.models.tasks.text import decode_text
from inference.schema import Misfit, Table, measure_json, read, read_number
from inference.scorer import ScoreParameters, Source
from inference.settings import RequestLimits

#: The query parameters of raw bodies and GET; `code` is the Functions key.
_PARAMETERS: Mapping[str, type[int] | type[float]] = {
    "top_k": int,
    "min_score": float,
    "score_threshold": float,
    "iou_threshold": float,
    "max_detections": int,
}
_TEXT_FIELD_BYTES = 64 * 1024
#: A body may be 64 MiB for the images in it; as many small values would be gigabytes once they are parsed.
_MAX_JSON_VALUES = 1_000_000


class Input(Struct, frozen=True):
    """One image or text of a request, with the caller's id for it."""

    source: Source
    id: str | None = None
    #: Why this one of several cannot be scored, whatever the model: its neighbours can.
    refusal: InvalidRequest | None = None


class ScoreRequest(Struct, frozen=True):
    """All images or texts of one request."""

    inputs: list[Input]
    parameters: ScoreParameters
    #: Whether the reply is `{"results": […]}` rather than one result.
    is_list: bool = False


class _ItemBody(Table, frozen=True):
    id: Annotated[str, Meta(max_length=256)] | None = None
    url: Annotated[str, Meta(min_length=1, max_length=2048)] | None = None
    data: str | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        if sum(form is not None for form in (self.url, self.data, self.text)) != 1:
            raise ValueError("exactly one of url, data and text must be given")

    def read(self) -> Input:
        data = None if self.data is None else _decode_base64(self.data)
        return Input(Source(url=self.url, data=data, text=self.text), self.id)

    def read_among_others(self) -> Input:
        """As `read`, for one of several, whose fault is its own."""
        try:
            return self.read()
        except InvalidRequest as exc:
            return Input(Source(), self.id, exc)


class _JsonBody(Table, frozen=True):
    id: Annotated[str, Meta(max_length=256)] | None = None
    url: Annotated[str, Meta(min_length=1, max_length=2048)] | None = None
    data: str | None = None
    text: str | None = None
    inputs: Annotated[list[_ItemBody], Meta(min_length=1)] | None = None
    parameters: ScoreParameters | None = None

    def __post_init__(self) -> None:
        if sum(form is not None for form in (self.url, self.data, self.text, self.inputs)) != 1:
            raise ValueError("exactly one of url, data, text and inputs must be given")
        if self.inputs is not None and self.id is not None:
            raise ValueError("id belongs to each of the inputs")


def read_score_request(request: Request, limits: RequestLimits, *, takes_text: bool = False) -> ScoreRequest:
    """Return what a score request asks for; a body of plain text is one only for a model that takes texts.

    Raises InvalidRequest, InvalidText, PayloadTooLarge, TooManyInputs, UnsupportedMediaType.
    """
    if request.method == "GET":
        return _read_query(request)
    if not request.body:
        raise InvalidRequest("The body is empty.")
    if request.is_json:
        return _read_json(request, limits)
    media_type = _media_type(request)
    if media_type.startswith("image/") or media_type == "application/octet-stream":
        return ScoreRequest([Input(Source(data=request.body))], _query_parameters(request.query))
    if media_type == "text/plain" and takes_text:
        return ScoreRequest([Input(Source(text=decode_text(request.body)))], _query_parameters(request.query))
    if media_type == "multipart/form-data":
        return _read_form(request, limits)
    raise UnsupportedMediaType(
        f"A body of type {media_type[:100]!r} is not taken; send application/json, image/*, application/octet-stream"
        f"{', text/plain' if takes_text else ''} or multipart/form-data."
    )


def _media_type(request: Request) -> str:
    """Return what the body is said to be, and where nothing is said, what it begins like."""
    if request.says_nothing_of_its_type and (not request.media_type or _is_image(request.body)):
        return "application/octet-stream"
    return request.media_type


def _is_image(body: bytes) -> bool:
    try:
        return bool(identify(body))
    except ItemRejected:
        return False


def _read_query(request: Request) -> ScoreRequest:
    url = request.query.get("url", "")
    if not url:
        raise InvalidRequest("The query has no url.")
    return ScoreRequest([Input(Source(url=url))], _query_parameters(request.query))


def _read_json(request: Request, limits: RequestLimits) -> ScoreRequest:
    body = request.body
    if measure_json(body).values > _MAX_JSON_VALUES:
        raise PayloadTooLarge(f"The body has more than {_MAX_JSON_VALUES} values.")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise InvalidRequest(f"The body is not JSON: {exc.msg} at character {exc.pos}.") from None
    if isinstance(value, dict) and isinstance(inputs := value.get("inputs"), list):
        _check_count(len(inputs), limits)  # before each of them is looked at
    try:
        parsed = read(_JsonBody, value)
    except Misfit as exc:
        raise InvalidRequest(f"{exc}.") from None
    given = parsed.parameters.as_dict() if parsed.parameters else {}
    parameters = _query_parameters(request.query, {name: value for name, value in given.items() if value is not None})
    if parsed.inputs is None:
        single = _ItemBody(id=parsed.id, url=parsed.url, data=parsed.data, text=parsed.text)
        return ScoreRequest([single.read()], parameters)
    return ScoreRequest([item.read_among_others() for item in parsed.inputs], parameters, is_list=True)


def _read_form(request: Request, limits: RequestLimits) -> ScoreRequest:
    other_parts = len(_PARAMETERS) + 2
    parser = MultiPartParser(
        # In memory: the whole body is there already, and a spooled file would be left for the collector to close.
        stream_factory=lambda *_, **__: BytesIO(),
        max_form_memory_size=_TEXT_FIELD_BYTES,
        max_form_parts=limits.max_inputs + other_parts,
    )
    boundary = _boundary(request.headers.get("content-type", ""))
    try:
        fields, files = parser.parse(BytesIO(request.body), boundary, len(request.body))
    except RequestEntityTooLarge:
        # The parser says the same of too many parts, which are the images, as of a long one.
        _check_count(request.body.count(b"\n--" + boundary) - other_parts, limits)
        raise PayloadTooLarge(f"The form has a text field of more than {_TEXT_FIELD_BYTES} bytes.") from None
    except ValueError:
        raise InvalidRequest("The form cannot be read.") from None
    # Of JSON in a form browsers make a file: `form.append("parameters", new Blob([…], {type: "application/json"}))`.
    given = [file for file in files.getlist("parameters") if file.mimetype == "application/json"]
    images = [file for _, file in files.items(multi=True) if file not in given]
    if not images:
        raise InvalidRequest("The form has no file.")
    _check_count(len(images), limits)
    inputs = [Input(Source(data=image.read()), image.filename or None) for image in images]
    typed = _read_object(given[0].read(_TEXT_FIELD_BYTES + 1) if given else fields.get("parameters") or "{}")
    parameters = _query_parameters({**request.query, **fields.to_dict()}, typed)
    if len(inputs) > 1:
        return ScoreRequest(inputs, parameters, is_list=True)
    # A single file's name is no id: the reply's is the request's, as for a raw body.
    return ScoreRequest([Input(inputs[0].source)], parameters)


def _boundary(content_type: str) -> bytes:
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    if not boundary:
        raise InvalidRequest("The form's content type has no boundary.")
    return boundary.encode(errors="surrogateescape")  # as servers decode the bytes of a header that are no UTF-8


def _read_object(text: str | bytes) -> dict[str, Any]:
    """Read the form's part `parameters`, which is what JSON bodies have under that name."""
    if len(text) > _TEXT_FIELD_BYTES:
        raise PayloadTooLarge(f"parameters: more than {_TEXT_FIELD_BYTES} bytes.")
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise InvalidRequest("parameters: expected an object in JSON.")
    return value


def _query_parameters(query: Mapping[str, str], typed: Mapping[str, Any] | None = None) -> ScoreParameters:
    """Read parameters from text, where numbers are not typed yet; they go before `typed` ones."""
    values: dict[str, Any] = {**(typed or {})}
    for name in _names_in(query):
        try:
            values[name] = read_number(_PARAMETERS[name], query[name])
        except ValueError:
            raise InvalidRequest(f"{name} is not a number.") from None
    try:
        return read(ScoreParameters, values)
    except Misfit as exc:
        raise InvalidRequest(f"{exc}.") from None


def _names_in(query: Mapping[str, str]) -> Iterable[str]:
    return (name for name in _PARAMETERS if query.get(name))


def _check_count(count: int, limits: RequestLimits) -> None:
    if count > limits.max_inputs:
        raise TooManyInputs(f"A request may have {limits.max_inputs} images; larger numbers go into a batch.")


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise InvalidRequest("data is not base64.") from None
