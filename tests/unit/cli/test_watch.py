from __future__ import annotations

from typing import Any

import pytest

from inference.cli.client import Client, Refused, Unreachable
from inference.cli.watch import watch
from tests.unit.cli.service import Service, refusal


def status(state: str, pending: int = 0) -> dict[str, Any]:
    return {"batch_id": "b", "state": state, "total": 4, "succeeded": 4 - pending, "failed": 0, "pending": pending}


@pytest.fixture
def delays() -> list[float]:
    """The delays that a watch asked for, none of which is slept."""
    return []


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
def test_a_batch_is_watched_to_its_end(service: Service, delays: list[float], end: str) -> None:
    service.answer("GET /api/batches/b", status("queued", 4), status("running", 2), status(end))

    assert watch(Client(service.url), "b", sleep=delays.append) == status(end)
    assert len(delays) == 2


def test_looks_come_further_apart_up_to_five_seconds(service: Service, delays: list[float]) -> None:
    service.answer("GET /api/batches/b", *[status("running", 2)] * 12, status("succeeded"))

    watch(Client(service.url), "b", sleep=delays.append)

    assert delays == sorted(delays)
    assert (delays[0], delays[-1]) == (0.25, 5.0)


def test_failures_that_may_pass_are_waited_out(service: Service, delays: list[float]) -> None:
    unknown_yet, restarting = refusal(404, "batch_not_found"), refusal(503, "unavailable")
    service.answer(
        "GET /api/batches/b", *[unknown_yet] * 10, status("running"), *[restarting] * 10, status("succeeded")
    )

    assert watch(Client(service.url), "b", sleep=delays.append)["state"] == "succeeded"


def test_a_failure_that_stays_ends_the_watch(service: Service, delays: list[float]) -> None:
    service.answer("GET /api/batches/b", refusal(404, "batch_not_found"))

    with pytest.raises(Refused, match="batch_not_found"):
        watch(Client(service.url), "b", sleep=delays.append)
    assert len(delays) == 10


def test_a_refusal_that_cannot_pass_ends_it_at_once(service: Service, delays: list[float]) -> None:
    service.answer("GET /api/batches/b", refusal(400, "invalid_request"))

    with pytest.raises(Refused):
        watch(Client(service.url), "b", sleep=delays.append)
    assert not delays


def test_a_service_that_is_gone_ends_it(delays: list[float]) -> None:
    with pytest.raises(Unreachable):
        watch(Client("http://127.0.0.1:9"), "b", sleep=delays.append)
    assert len(delays) == 10
