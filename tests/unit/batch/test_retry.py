from __future__ import annotations

import pytest

from inference.batch.retry import Again, Final, RetryPolicy, decide, describe
from inference.errors import (
    DeadlineExceeded,
    ImageNotFound,
    InferenceError,
    InvalidImage,
    ModelUnavailable,
    OriginThrottled,
    OriginUnavailable,
    Overloaded,
    ShuttingDown,
    StorageForbidden,
    StorageUnavailable,
    Unavailable,
    UrlNotAllowed,
)

POLICY = RetryPolicy(max_attempts=3, base_seconds=2.0, cap_seconds=60.0)


@pytest.mark.parametrize("error", [ImageNotFound(), InvalidImage(), UrlNotAllowed()])
@pytest.mark.parametrize("tries", [1, 3])
def test_a_permanent_cause_is_final_at_once(error: InferenceError, tries: int) -> None:
    verdict = decide(error, tries, 0, POLICY, 0.5)

    assert isinstance(verdict, Final)
    assert verdict.error == describe(error)


@pytest.mark.parametrize("error", [OriginUnavailable(), DeadlineExceeded(), RuntimeError("secret")])
def test_a_passing_cause_is_tried_until_its_attempts_are_used_up(error: Exception) -> None:
    verdicts = [decide(error, tries, 0, POLICY, 0.5) for tries in (1, 2, 3)]

    assert [type(verdict) for verdict in verdicts] == [Again, Again, Final]
    assert all(verdict.is_charged for verdict in verdicts if isinstance(verdict, Again))
    assert "secret" not in verdicts[-1].error.message


@pytest.mark.parametrize(
    "error",
    [StorageUnavailable(), StorageForbidden(), ModelUnavailable(), Overloaded(), ShuttingDown(), Unavailable()],
)
@pytest.mark.parametrize("tries", [1, 3, 1000])
def test_a_failure_of_ours_is_never_charged_and_never_final(error: Exception, tries: int) -> None:
    verdict = decide(error, tries, stalls=tries, policy=POLICY, jitter=0.5)

    assert isinstance(verdict, Again)
    assert not verdict.is_charged


def test_every_error_of_the_tree_gets_a_verdict() -> None:
    for kind in InferenceError.leaves():
        assert isinstance(decide(kind(), 1, 0, POLICY, 0.5), Final) is not kind.retryable, kind


@pytest.mark.parametrize(
    ("tries", "jitter", "wait"),
    [(1, 0.0, 0.0), (1, 0.5, 1.0), (2, 0.5, 2.0), (2, 1.0, 4.0)],
)
def test_the_wait_is_exponential_with_full_jitter(tries: int, jitter: float, wait: float) -> None:
    verdict = decide(OriginUnavailable(), tries, 0, POLICY, jitter)

    assert isinstance(verdict, Again)
    assert verdict.wait_seconds == wait


@pytest.mark.parametrize("failures", [6, 63, 64, 10_000])
def test_the_wait_is_capped_however_many_failures_there_were(failures: int) -> None:
    assert POLICY.backoff(failures, 1.0) == 60.0


@pytest.mark.parametrize(("asked", "wait"), [(None, 1.0), (0.0, 1.0), (30.0, 30.0), (3600.0, 60.0)])
def test_retry_after_is_honoured_up_to_the_cap(asked: float | None, wait: float) -> None:
    verdict = decide(OriginThrottled(retry_after_seconds=asked), 1, 0, POLICY, 0.5)

    assert isinstance(verdict, Again)
    assert verdict.wait_seconds == wait


def test_a_row_says_of_an_unknown_exception_only_its_class() -> None:
    why = describe(ValueError("https://user:password@host/"))

    assert (why.code, why.message) == ("internal_error", "A defect of this service (ValueError).")
