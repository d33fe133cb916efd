from __future__ import annotations

import socket
from typing import Any

import pytest

from inference.cli.client import Client, Refused, Route, Unreachable, model_segments
from inference.cli.failure import ExitCode, Failure, WrongCall
from tests.unit.cli.service import Reply, Service, refusal


@pytest.mark.parametrize(
    ("status", "exit_code"),
    [
        *((status, ExitCode.WRONG_CALL) for status in (400, 401, 404, 409, 413, 415)),
        *((status, ExitCode.WORK_FAILED) for status in (422, 424, 429, 500, 503, 504)),
    ],
)
def test_an_error_of_the_service_is_its_sentence_and_code(service: Service, status: int, exit_code: ExitCode) -> None:
    service.answer("GET /api/models", refusal(status, "some_code", "It went wrong."))

    with pytest.raises(Refused) as refused:
        Client(service.url).read_json("/models")

    assert str(refused.value) == "It went wrong. (some_code)"
    assert (refused.value.status, refused.value.code, refused.value.exit_code) == (status, "some_code", exit_code)


def test_the_hosts_own_401_asks_for_a_key(service: Service) -> None:
    service.answer("GET /api/models", Reply(b"", 401))

    with pytest.raises(Refused, match="ONNXFN_KEY"):
        Client(service.url).read_json("/models")


def test_a_403_is_not_the_hosts_and_asks_for_no_key(service: Service) -> None:
    service.answer("GET /api/models", Reply(b"<html>Error 403 - Forbidden</html>", 403, content_type="text/html"))

    with pytest.raises(Refused, match=r"lets no call through \(status 403\)") as refused:
        Client(service.url).read_json("/models")

    assert "ONNXFN_KEY" not in str(refused.value)
    assert refused.value.exit_code is ExitCode.WRONG_CALL


def test_a_redirect_within_the_site_is_taken_for_a_login(service: Service) -> None:
    service.answer("GET /api/models", Reply(b"", 302, "/login?next=SECRET"))

    with pytest.raises(Refused, match=r"sends callers on to another page \(status 302\); does it want a login\?$"):
        Client(service.url).read_json("/models")


def test_a_host_that_no_name_server_can_be_asked_for_is_not_reached() -> None:
    url = f"http://{'a' * 70}.invalid"

    with pytest.raises(Unreachable, match=f"^{url} cannot be reached: "):
        Client(url).read_json("/models")


def test_the_hosts_own_404_says_that_it_is_the_url(service: Service) -> None:
    with pytest.raises(Refused, match="is --url right"):
        Client(service.url).read_json("/models")


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b""])
def test_a_reply_that_is_no_json_object_is_not_from_this_service(service: Service, body: bytes) -> None:
    service.answer("GET /api/models", Reply(body))

    with pytest.raises(Failure, match="does not answer like this service"):
        Client(service.url).read_json("/models")


def test_where_nothing_listens_the_sentence_says_how_to_start_it() -> None:
    with socket.socket() as bound:  # bound, not listening: connections are refused
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"

        with pytest.raises(Unreachable, match="start it with `onnxfn start`"):
            Client(url).read_json("/models")


def test_a_key_goes_in_the_header_that_functions_reads(service: Service) -> None:
    service.answer("GET /api/models", {})

    Client(service.url, "secret").read_json("/models")
    Client(service.url).read_json("/models")

    assert [call.headers.get("x-functions-key") for call in service.calls] == ["secret", None]


def test_options_that_were_not_given_are_not_sent(service: Service) -> None:
    service.answer("GET /api/deadletters", {})

    Client(service.url).read_json("/deadletters", {"batch_id": "a&b", "code": None, "limit": 2})

    assert service.calls[0].query == {"batch_id": "a&b", "limit": "2"}


@pytest.mark.parametrize("suffix", ["", "/", "/api", "/api/"])
def test_the_url_may_end_in_the_api_prefix(service: Service, suffix: str) -> None:
    service.answer("GET /api/models", {"models": []})

    assert Client(service.url + suffix).read_json("/models") == {"models": []}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_key_does_not_follow_a_redirect(service: Service, status: int) -> None:
    location = f"{service.url.replace('http', 'https')}/api/batches?secret=SECRET"
    service.answer("POST /api/batches", Reply(b"", status, location))

    with pytest.raises(Refused, match=r"sends callers on to https://127\.0\.0\.1:\d+; if that") as refused:
        Client(service.url, "key").send_json("POST", "/batches", {})

    assert len(service.calls) == 1
    assert "SECRET" not in str(refused.value)
    assert refused.value.exit_code is ExitCode.WRONG_CALL


@pytest.mark.parametrize("url", ["https://user:SECRET@host", "https://host/api/score?code=SECRET"])
def test_a_url_with_a_secret_in_it_is_refused_without_it(url: str) -> None:
    with pytest.raises(WrongCall, match="is not like") as refused:
        Client(url)

    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize("url", ["localhost:7071", "ftp://host", "http://", "http://host:port", "http://h/?a=b", ""])
def test_a_url_that_is_none_is_a_wrong_call(url: str) -> None:
    with pytest.raises(WrongCall, match="is not like"):
        Client(url)


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    service.answer("GET /api/models", {"models": []})

    assert Client(service.url).read_json("/models") == {"models": []}


def test_segments_of_a_route_are_quoted() -> None:
    assert str(Route("batches", "a/b?c", "results")) == "/batches/a%2Fb%3Fc/results"


@pytest.mark.parametrize(
    ("model", "segments"),
    [(None, ()), ("digits", ("models", "digits")), ("digits:2", ("models", "digits", "versions", "2"))],
)
def test_a_model_is_a_name_and_perhaps_a_version(model: str | None, segments: tuple[str, ...]) -> None:
    assert model_segments(model) == segments


@pytest.mark.parametrize("model", [":1", "digits:", ":"])
def test_half_a_model_is_a_wrong_call(model: str) -> None:
    with pytest.raises(WrongCall):
        model_segments(model)


@pytest.mark.parametrize("call", [Client.read_json, Client.call_any])
def test_json_that_is_nested_too_deep_to_read_is_not_from_this_service(service: Service, call: Any) -> None:
    service.answer("GET /api/models", Reply(b"[" * 200_000))

    with pytest.raises(Failure, match="does not answer like this service"):
        call(Client(service.url), *(["GET"] if call is Client.call_any else []), "/models")


def test_an_object_without_the_fields_of_a_reply_is_not_from_this_service(service: Service) -> None:
    service.answer("GET /api/models", {"title": "another service"})
    reply = Client(service.url).read_json("/models")

    with pytest.raises(Failure, match="does not answer like this service"):
        reply["models"]


def test_a_stream_that_is_cut_off_is_no_whole_one(service: Service) -> None:
    service.answer("GET /api/batches/b/results", Reply(b"{}\n", missing_bytes=100))

    with pytest.raises(Unreachable, match="cut its reply off"):
        list(Client(service.url).stream("/batches/b/results"))


def test_a_page_for_people_is_not_streamed_as_a_result(service: Service) -> None:
    service.answer("GET /api/batches/b/results", Reply(b"<html>sign in", content_type="text/html; charset=utf-8"))

    with pytest.raises(Failure, match="does not answer like this service"):
        list(Client(service.url).stream("/batches/b/results"))


@pytest.mark.parametrize("key", ["schlüssel", "one\ntwo", "\x7f"])
def test_a_key_that_no_header_can_carry_is_a_wrong_call_and_is_not_repeated(key: str) -> None:
    with pytest.raises(WrongCall, match="--key") as refused:
        Client("http://localhost:1", key)

    assert key not in str(refused.value)


def test_the_line_end_of_the_file_that_a_key_came_from_is_not_part_of_it(service: Service) -> None:
    service.answer("GET /api/models", {})

    Client(service.url, "the-key\r\n").read_json("/models")

    assert service.calls[0].headers["x-functions-key"] == "the-key"


def test_the_hosts_own_413_says_that_the_request_is_too_large(service: Service) -> None:
    service.answer("POST /api/score", Reply(b"", 413))

    with pytest.raises(Refused, match=r"as large as this one \(payload_too_large\)") as refused:
        Client(service.url).call("POST", "/score", body=b"x")

    assert refused.value.exit_code is ExitCode.WRONG_CALL
