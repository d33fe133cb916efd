"""Every body form of a score request, and what is refused."""

import base64
import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from msgspec.structs import asdict

from inference.errors import (
    InferenceError,
    InvalidRequest,
    InvalidText,
    PayloadTooLarge,
    TooManyInputs,
    UnsupportedMediaType,
)
from inference.http.bodies import ScoreRequest, read_score_request
from inference.http.compression import unpack
from inference.http.messages import Request
from inference.scorer import ScoreParameters, Source
from inference.settings import RequestLimits

LIMITS = RequestLimits(max_body_bytes=4000, max_inputs=3)
PIXELS = b"\x89PNG\r\n\x1a\n\x00\xff"


def read(
    body: bytes = b"",
    content_type: str = "",
    *,
    method: str = "POST",
    query: dict[str, str] | None = None,
    takes_text: bool = False,
    encoding: str = "",
) -> ScoreRequest:
    headers = {"content-type": content_type} if content_type else {}
    if encoding:
        headers["content-encoding"] = encoding
    request = Request(method, "", query=query or {}, headers=headers, body=body)
    return read_score_request(unpack(request, LIMITS), LIMITS, takes_text=takes_text)


def read_json(value: Any) -> ScoreRequest:
    return read(orjson.dumps(value), "application/json; charset=utf-8")


def form(*parts: tuple[str, str | None, bytes]) -> tuple[bytes, str]:
    chunks = []
    for name, filename, data in parts:
        file = f'; filename="{filename}"' if filename is not None else ""
        chunks.append(
            f'--edge\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + data + b"\r\n"
        )
    return b"".join(chunks) + b"--edge--\r\n", "multipart/form-data; boundary=edge"


def sources(request: ScoreRequest) -> list[Source]:
    return [image.source for image in request.inputs]


def test_a_url() -> None:
    request = read_json({"url": "https://host/a.png", "id": "mine", "parameters": {"top_k": 2, "min_score": 0.5}})

    assert sources(request) == [Source(url="https://host/a.png")]
    assert request.inputs[0].id == "mine"
    assert request.parameters == ScoreParameters(top_k=2, min_score=0.5)
    assert not request.is_list


def test_a_null_is_what_is_not_there() -> None:
    request = read_json({"url": "https://host/a.png", "data": None, "id": None, "inputs": None, "parameters": None})

    assert sources(request) == [Source(url="https://host/a.png")]
    assert request.parameters == ScoreParameters()


def test_base64_data() -> None:
    assert sources(read_json({"data": base64.b64encode(PIXELS).decode()})) == [Source(data=PIXELS)]


def test_a_text() -> None:
    assert sources(read_json({"text": "Hagel. 屋根"})) == [Source(text="Hagel. 屋根")]
    assert sources(read_json({"text": ""})) == [Source(text="")]


@pytest.mark.parametrize("content_type", ["text/plain", "Text/Plain; charset=utf-8"])
def test_a_raw_text_with_parameters_in_the_query(content_type: str) -> None:
    request = read("Hagel. 屋根".encode(), content_type, query={"top_k": "1"}, takes_text=True)

    assert sources(request) == [Source(text="Hagel. 屋根")]
    assert request.parameters == ScoreParameters(top_k=1)


def test_a_raw_text_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(InvalidText):
        read(b"\xff", "text/plain", takes_text=True)


def test_parameters_of_detection_in_json_and_in_the_query() -> None:
    wanted = ScoreParameters(score_threshold=0.1, iou_threshold=0.2, max_detections=3)
    query = {"score_threshold": "0.1", "iou_threshold": ".2", "max_detections": "3"}

    assert read(PIXELS, "image/png", query=query).parameters == wanted
    assert read_json({"url": "https://host/a", "parameters": asdict(wanted)}).parameters == wanted


def test_parameters_in_the_query_hold_for_json_too() -> None:
    body = orjson.dumps({"url": "https://host/a", "parameters": {"top_k": 9, "min_score": 0.5}})
    parameters = read(body, "application/json", query={"top_k": "2"}).parameters

    assert (parameters.top_k, parameters.min_score) == (2, 0.5)
    for text in ("abc", "1_0", "\N{ARABIC-INDIC DIGIT THREE}"):
        with pytest.raises(InvalidRequest, match="top_k is not a number"):
            read(body, "application/json", query={"top_k": text})


def test_inputs_keep_their_order_and_ids() -> None:
    data = base64.b64encode(PIXELS).decode()
    request = read_json({"inputs": [{"id": "a", "url": "https://host/a"}, {"data": data}]})

    assert sources(request) == [Source(url="https://host/a"), Source(data=PIXELS)]
    assert [image.id for image in request.inputs] == ["a", None]
    assert request.is_list


def test_data_that_is_not_base64_is_the_fault_of_one_input_alone() -> None:
    request = read_json({"inputs": [{"id": "a", "data": "aGk"}, {"url": "https://host/a"}]})

    broken, good = request.inputs
    assert (broken.id, broken.refusal and broken.refusal.message) == ("a", "data is not base64.")
    assert (good.source, good.refusal) == (Source(url="https://host/a"), None)


def test_one_input_is_still_a_list() -> None:
    assert read_json({"inputs": [{"url": "https://host/a"}]}).is_list


@pytest.mark.parametrize("content_type", ["image/png", "image/jpeg", "application/octet-stream", ""])
def test_a_raw_body_with_parameters_in_the_query(content_type: str) -> None:
    request = read(PIXELS, content_type, query={"top_k": "2", "min_score": ".25", "code": "key"})

    assert sources(request) == [Source(data=PIXELS)]
    assert request.parameters == ScoreParameters(top_k=2, min_score=0.25)


@pytest.mark.parametrize("body", [b'{"url": "https://host/a"}', PIXELS])
def test_what_curl_sends_without_a_content_type_is_known_by_its_beginning(body: bytes) -> None:
    assert len(read(body, "application/x-www-form-urlencoded").inputs) == 1


def test_json_without_a_content_type_is_still_json() -> None:
    assert sources(read(b' {"url": "https://host/a"}')) == [Source(url="https://host/a")]


def test_a_form_with_one_file_is_one_image() -> None:
    request = read(*form(("image", "cat.png", PIXELS), ("top_k", None, b"3")))

    assert sources(request) == [Source(data=PIXELS)]
    assert request.parameters.top_k == 3
    assert not request.is_list


def test_a_form_takes_parameters_from_the_query_too() -> None:
    body, content_type = form(("image", "cat.png", PIXELS))

    assert read(body, content_type, query={"top_k": "3"}).parameters.top_k == 3


def test_a_form_takes_the_parameters_of_json_bodies_and_prefers_fields() -> None:
    body, content_type = form(
        ("image", "cat.png", PIXELS), ("parameters", None, b'{"top_k": 1, "min_score": 0.5}'), ("top_k", None, b"3")
    )

    assert read(body, content_type).parameters == ScoreParameters(top_k=3, min_score=0.5)


def blob(name: str, data: bytes) -> bytes:
    """Return a part as a browser makes it of a Blob of JSON."""
    disposition = f'Content-Disposition: form-data; name="{name}"; filename="blob"'.encode()
    return b"--edge\r\n" + disposition + b"\r\nContent-Type: application/json\r\n\r\n" + data + b"\r\n"


def test_parameters_that_a_browser_sends_as_a_blob_are_no_image() -> None:
    body, content_type = form(("image", "cat.png", PIXELS), ("min_score", None, b"0.5"))
    request = read(blob("parameters", b'{"top_k": 1, "min_score": 0.1}') + body, content_type)

    assert sources(request) == [Source(data=PIXELS)]
    assert not request.is_list
    assert request.parameters == ScoreParameters(top_k=1, min_score=0.5)
    with pytest.raises(PayloadTooLarge, match="parameters"):
        read_score_request(
            Request("POST", "", headers={"content-type": content_type}, body=blob("parameters", b" " * 70_000) + body),
            LIMITS,
        )


@pytest.mark.parametrize("given", [b"3", b"{", b'{"topk": 1}', b'{"top_k": "3"}'])
def test_parameters_of_a_form_that_cannot_be_used_are_refused(given: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read(*form(("image", "cat.png", PIXELS), ("parameters", None, given)))


def test_a_form_with_two_files_is_a_list_with_their_names_as_ids() -> None:
    request = read(*form(("image", "cat.png", PIXELS), ("image", "dog.png", b"x")))

    assert [image.id for image in request.inputs] == ["cat.png", "dog.png"]
    assert request.is_list


def test_get_takes_the_url_from_the_query() -> None:
    request = read(method="GET", query={"url": "https://host/a?x=1", "top_k": "1"})

    assert sources(request) == [Source(url="https://host/a?x=1")]
    assert request.parameters.top_k == 1


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        "text",
        7,
        None,
        {"url": ""},
        {"url": 7},
        {"url": "https://host/" + "a" * 2048},
        {"url": "https://host/a", "data": "aGk="},
        {"url": "https://host/a", "text": "a"},
        {"data": "aGk=", "text": "a"},
        {"text": 7},
        {"text": ["a"]},
        {"inputs": [{"text": "a", "url": "https://host/a"}]},
        {"url": "https://host/a", "parameters": {"iou_threshold": 1.5}},
        {"url": "https://host/a", "parameters": {"score_threshold": -0.1}},
        {"url": "https://host/a", "parameters": {"max_detections": 1001}},
        {"url": "https://host/a", "parameters": {"max_detections": 2.5}},
        {"url": "https://host/a", "inputs": [{"url": "https://host/a"}]},
        {"url": "https://host/a", "surprise": 1},
        {"data": "not base64!"},
        {"data": "aGk"},
        {"inputs": []},
        {"inputs": [{}]},
        {"inputs": ["https://host/a"]},
        {"inputs": [{"url": "https://host/a"}], "id": "whose"},
        {"url": "https://host/a", "parameters": {"top_k": 0}},
        {"url": "https://host/a", "parameters": {"top_k": "1"}},
        {"url": "https://host/a", "parameters": {"min_score": 2}},
        {"url": "https://host/a", "parameters": {"surprise": 2}},
        {"url": "https://host/a", "parameters": []},
    ],
)
def test_json_that_is_not_a_score_request_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_json(value)

    assert refused.value.code == "invalid_request"
    assert refused.value.message.endswith(".")
    assert "instance of" not in refused.value.message


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"url": NaN}', b"[" * 1500])
def test_a_body_that_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="not JSON"):
        read(body, "application/json")


@pytest.mark.parametrize("content_type", ["", "application/json", "image/png", "multipart/form-data; boundary=edge"])
def test_an_empty_body_is_refused(content_type: str) -> None:
    with pytest.raises(InvalidRequest, match="empty"):
        read(b"", content_type)


@pytest.mark.parametrize("content_type", ["text/html", "application/x-www-form-urlencoded", "application/xml", "image"])
def test_another_media_type_is_refused(content_type: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        read(b"x", content_type)


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": [' + b"1," * 2_000_000 + b"1]}",
        b'{"inputs": [' + b"1," * 900_000 + b"1]}",
        b'{"inputs": [1,1,1]}',
        b'{"inputs": [' + (b"[" * 1000 + b"]" * 1000 + b",") * 1000 + b"1]}",
        b'{"' + b"k" * 1_000_000 + b'": 1, "url": "https://host/a"}',
        b'{"url": "https://host/a", ' + b", ".join(b'"%d": 1' % number for number in range(200_000)) + b"}",
        b'{"url": "https://host/a", "parameters": {' + b", ".join(b'"%d": 1' % n for n in range(200_000)) + b"}}",
    ],
    ids=["values", "inputs", "few inputs", "nested", "a long key", "keys", "parameters"],
)
def test_a_body_of_very_many_values_is_refused_by_one_short_sentence_in_little_memory(body: bytes) -> None:
    limits = RequestLimits(max_body_bytes=1 << 26, max_inputs=3)
    request = Request("POST", "", headers={"content-type": "application/json"}, body=body)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest) as refused:
            read_score_request(request, limits)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(refused.value.message) < 100
    assert peak_bytes < 64 << 20


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_packed_body_is_unpacked(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    assert sources(read(pack(PIXELS), "image/png", encoding=encoding)) == [Source(data=PIXELS)]
    packed = pack(b'{"url": "https://host/a"}')
    assert sources(read(packed, "application/json", encoding=encoding)) == [Source(url="https://host/a")]


def test_a_packing_that_is_not_known_is_refused() -> None:
    with pytest.raises(UnsupportedMediaType):
        read(PIXELS, "image/png", encoding="br")


@pytest.mark.parametrize(("body", "encoding"), [(b"{" * 4001, ""), (gzip.compress(b"{" * 4001), "gzip")])
def test_a_body_over_the_limit_is_refused_before_it_is_read(body: bytes, encoding: str) -> None:
    with pytest.raises(PayloadTooLarge):
        read(body, "application/json", encoding=encoding)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (form(("image", None, b"no file"))[0], "multipart/form-data; boundary=edge"),
        (form(("image", "a", PIXELS))[0], "multipart/form-data"),
        (form(("image", "a", PIXELS))[0], "multipart/form-data; boundary=other"),
        (b"rubbish", "multipart/form-data; boundary=edge"),
        (form(("image", "a", PIXELS))[0], "multipart/form-data; boundary=\udcff"),
        form(("image", "a.png", PIXELS), ("top_k", None, b"many")),
    ],
)
def test_a_form_that_cannot_be_used_is_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(InferenceError) as refused:
        read(body, content_type)

    assert refused.value.code in {"invalid_request", "payload_too_large"}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (orjson.dumps({"inputs": [{"url": "https://host/a"}] * 4}), "application/json"),
        form(*[("image", "a.png", PIXELS)] * 4),
        form(*[("image", "a.png", PIXELS)] * 40),
    ],
    ids=["json", "form", "form of very many"],
)
def test_more_images_than_a_request_may_have_are_over_a_limit(body: bytes, content_type: str) -> None:
    with pytest.raises(TooManyInputs, match="may have 3 images"):
        read(body, content_type)


@pytest.mark.parametrize(
    "query", [{}, {"url": ""}, {"url": "https://host/a", "top_k": "x"}, {"url": "a", "top_k": "-1"}]
)
def test_a_query_that_cannot_be_used_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        read(method="GET", query=query)
