from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cli.service import Program, Service

LOADED: dict[str, Any] = {
    "name": "digits",
    "version": "2",
    "versions": [{"version": "1", "state": "unloaded"}, {"version": "2", "state": "ready"}],
    "state": "ready",
    "task": "classification",
    "labels": ["0", "1", "2"],
    "sha256": "ab" * 32,
}
UNLOADED = {**LOADED, "name": "other", "state": "unloaded", "task": None, "labels": None, "sha256": None}


def test_models_are_a_table(onnxfn: Program, service: Service) -> None:
    service.answer("GET /api/models", {"models": [LOADED, UNLOADED]})

    lines = onnxfn("model", "list").out.splitlines()

    assert lines[0].split() == ["NAME", "SERVES", "VERSIONS", "STATE", "TASK", "LABELS", "SHA256"]
    assert lines[1].split() == ["digits", "2", "1,", "2", "ready", "classification", "3", "abababababab"]
    assert lines[2].split() == ["other", "2", "1,", "2", "unloaded"]


def test_models_in_json_are_the_services_reply(onnxfn: Program, service: Service) -> None:
    service.answer("GET /api/models", {"models": [LOADED]})

    assert onnxfn("model", "list", "--json").json == {"models": [LOADED]}


def test_shown_model_names_its_canary_and_the_share_that_it_takes(onnxfn: Program, service: Service) -> None:
    canary = {"version": "2", "share": 0.05}
    shown = {**LOADED, "version": "1", "reason": None, "execution": None}
    service.answer("GET /api/models/digits", {**shown, "canary": canary}, {**shown, "canary": None})

    lines = onnxfn("model", "show", "digits").out.splitlines()
    assert "canary    2 takes 0.05 of the requests" in [line.rstrip() for line in lines]
    assert "canary" not in onnxfn("model", "show", "digits").out


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_a_url_drops_is_not_taken_for_the_list_of_models(
    onnxfn: Program, service: Service, name: str
) -> None:
    done = onnxfn("model", "show", name)

    assert (done.code, done.err) == (2, f"onnxfn: {name!r} names nothing.\n")
    assert not service.calls
