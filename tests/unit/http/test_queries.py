"""Query parameters and bodies of the control routes."""

import orjson
import pytest

from inference.errors import InvalidRequest
from inference.http.messages import Request
from inference.http.queries import read_filter, read_selection


def post(body: object = None, **query: str) -> Request:
    data = b"" if body is None else orjson.dumps(body)
    return Request("POST", "http://localhost:7071/api", query=query, body=data)


def test_an_empty_body_means_everything() -> None:
    selection = read_selection(post())
    assert (selection.filter.batch_id, selection.filter.code, selection.dry_run) == (None, None, False)


@pytest.mark.parametrize("name", ["batch_id", "since", "limit", "dry_run"])
def test_a_selection_in_the_query_is_not_passed_over(name: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{name}: it belongs in the body"):
        read_selection(post({}, **{name: "1"}))


def test_a_code_in_the_query_is_not_taken_for_the_key_of_the_platform() -> None:
    with pytest.raises(InvalidRequest, match=r"^code: it belongs in the body"):
        read_selection(post({"batch_id": "b"}, code="image_not_found"))


def test_the_key_of_the_platform_is_no_selection() -> None:
    key = "AbC1-_8s0m3K3y=="
    assert read_selection(post({"code": "image_not_found"}, code=key)).filter.code == "image_not_found"
    assert read_filter({"code": key}).code is None
    assert read_filter({"code": "image_not_found"}).code == "image_not_found"


@pytest.mark.parametrize("body", [{"since": ""}, {"batch_id": ""}, {"code": ""}, {"limit": 0}])
def test_an_empty_value_does_not_mean_everything(body: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        _ = read_selection(post(body)).filter
