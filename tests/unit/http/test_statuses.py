"""Every error has a code of its own and a status."""

import pytest

from inference.errors import InferenceError
from inference.http.statuses import status_of

TREE = list(InferenceError.leaves())


def test_codes_are_unique_and_snake_case() -> None:
    codes = [error.code for error in TREE]

    assert len(set(codes)) == len(codes)
    assert all(code.isidentifier() and code == code.lower() for code in codes)


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.code)
def test_every_error_has_a_status_and_a_sentence(error: type[InferenceError]) -> None:
    assert status_of(error) in {400, 404, 409, 413, 415, 422, 424, 429, 503, 504}
    assert error().message.endswith((".", "shortly."))


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("invalid_request", 400),
        ("invalid_manifest", 400),
        ("model_not_found", 404),
        ("model_version_not_found", 404),
        ("batch_not_found", 404),
        ("batch_conflict", 409),
        ("payload_too_large", 413),
        ("unsupported_media_type", 415),
        ("too_many_inputs", 422),
        ("image_invalid", 422),
        ("url_not_allowed", 422),
        ("image_too_large", 422),
        ("image_not_found", 424),
        ("origin_timeout", 424),
        ("overloaded", 429),
        ("model_unavailable", 503),
        ("deadline_exceeded", 504),
    ],
)
def test_the_contract_s_statuses(code: str, status: int) -> None:
    assert status_of(next(error for error in TREE if error.code == code)) == status
