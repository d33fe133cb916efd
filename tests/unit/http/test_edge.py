"""The edge: one error shape, request ids, and nothing of an unknown exception in a body."""

import asyncio
import logging

import orjson
import pytest

from inference.errors import InferenceError, ModelNotFound, Overloaded, SettingsError
from inference.http import edge
from inference.http.messages import Handler, Request, Response, json_response

REQUEST = Request("POST", "http://localhost:7071/api")


def failing(error: BaseException) -> Handler:
    async def handler(request: Request) -> Response:
        raise error

    return handler


async def test_an_error_of_the_tree_has_the_shape_of_the_contract() -> None:
    response = await edge.respond("score", failing(ModelNotFound("There is no model x.")), REQUEST)

    body = orjson.loads(response.body)
    assert response.status == 404
    assert body == {"error": "There is no model x.", "code": "model_not_found", "request_id": body["request_id"]}
    assert response.headers["x-request-id"] == body["request_id"]
    assert response.headers["content-type"] == "application/json"


async def test_an_unknown_exception_is_a_500_that_says_nothing_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        response = await edge.respond("score", failing(KeyError("secret")), REQUEST)

    assert response.status == 500
    assert b"secret" not in response.body
    assert orjson.loads(response.body)["code"] == "internal_error"
    assert "secret" in caplog.text


async def test_a_cancellation_of_something_else_is_a_500_and_one_of_the_request_ends_it() -> None:
    response = await edge.respond("score", failing(asyncio.CancelledError()), REQUEST)
    assert (response.status, orjson.loads(response.body)["code"]) == (500, "internal_error")

    async def wait(_: Request) -> Response:
        await asyncio.get_running_loop().create_future()
        return json_response({})

    request = asyncio.create_task(edge.respond("score", wait, REQUEST))
    await asyncio.sleep(0)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request


async def test_an_error_that_cannot_be_told_is_a_500_in_the_same_shape() -> None:
    response = await edge.respond("score", failing(Overloaded(retry_after_seconds=float("inf"))), REQUEST)

    assert (response.status, orjson.loads(response.body)["code"]) == (500, "internal_error")


async def test_wrong_settings_are_a_503_whose_details_stay_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        response = await edge.respond("score", failing(SettingsError(["INFERENCE_CORES: 'x'"])), REQUEST)

    assert (response.status, orjson.loads(response.body)["code"]) == (503, "misconfigured")
    assert b"INFERENCE_CORES" not in response.body
    assert "INFERENCE_CORES" in caplog.text


@pytest.mark.parametrize(("seconds", "header"), [(None, "1"), (0.2, "1"), (2.1, "3")])
async def test_overload_tells_when_to_come_back_in_whole_seconds(seconds: float | None, header: str) -> None:
    response = await edge.respond("score", failing(Overloaded(retry_after_seconds=seconds)), REQUEST)

    assert (response.status, response.headers["retry-after"]) == (429, header)


@pytest.mark.parametrize(
    ("given", "echoed"),
    [("abc-123", True), ("a" * 128, True), ("a" * 129, False), ("a\r\nb", False), ("a b", False), ("", False)],
)
async def test_a_request_id_is_echoed_when_it_is_safe_to(given: str, echoed: bool) -> None:
    async def handler(request: Request) -> Response:
        return json_response({"id": request.id})

    response = await edge.respond("score", handler, Request("GET", "", headers={"x-request-id": given}))

    assert (response.headers["x-request-id"] == given) is echoed
    assert orjson.loads(response.body)["id"] == response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("given", "echoed"), [("4c8cafd2-62e7-4d6b-8f0b-9a4f0d9f2b11", True), ("a\r\nb", False), (None, False)]
)
async def test_the_id_of_azures_clients_comes_back_too(given: str | None, echoed: bool) -> None:
    headers = {} if given is None else {"x-ms-client-request-id": given}

    response = await edge.respond("score", failing(ModelNotFound()), Request("POST", "", headers=headers))

    assert (response.headers.get("x-ms-client-request-id") == given) is (echoed or given is None)
    assert response.headers["x-request-id"] != given


@pytest.mark.parametrize(
    ("url", "headers", "base"),
    [
        ("http://localhost:7071/api/batches", {}, "http://localhost:7071/api"),
        ("http://app.example/api/batches?x=1", {"x-forwarded-proto": "https"}, "https://app.example/api"),
        ("http://app.example/api/batches", {"x-forwarded-proto": "https, http"}, "https://app.example/api"),
        ("http://app.example/api/batches", {"x-forwarded-proto": "javascript"}, "http://app.example/api"),
        ("http://[1:1]/api/batches", {}, "/api"),
        ("http:///api/batches", {"x-forwarded-proto": "https"}, "/api"),
    ],
)
def test_links_have_the_scheme_that_the_caller_sees(url: str, headers: dict[str, str], base: str) -> None:
    assert edge.base_url(url, headers) == base


def test_the_base_class_is_never_raised_bare() -> None:
    assert InferenceError.code == "inference_error"


async def test_a_body_that_the_host_did_not_pass_on_is_not_taken_for_none() -> None:
    """The Functions host drops bodies in chunks: a purge of one batch would be one of all."""

    async def purge(_: Request) -> Response:
        raise AssertionError("it was handled")

    request = Request("POST", "http://localhost:7071/api", headers={"transfer-encoding": "chunked"})
    response = await edge.respond("purge_dead_letters", purge, request)

    assert response.status == 400
    assert "Content-Length" in orjson.loads(response.body)["error"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_probe_has_no_body_to_miss(method: str) -> None:
    async def health(_: Request) -> Response:
        return json_response({"status": "live"})

    request = Request(method, "http://localhost:7071/api", headers={"transfer-encoding": "chunked"})
    assert (await edge.respond("health", health, request)).status == 200
