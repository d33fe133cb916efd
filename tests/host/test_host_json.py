"""host.json: defaults, values, and a clear sentence for what the host cannot take."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from devhost.errors import ConfigurationError
from devhost.host_json import HostJson, QueueOptions, read_host_json


def read(tmp_path: Path, document: Any, *, is_development: bool = True) -> HostJson:
    path = tmp_path / "host.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return read_host_json(path, is_development=is_development, processors=2)


def test_an_empty_host_json_means_the_platforms_defaults(tmp_path: Path) -> None:
    host = read(tmp_path, {"version": "2.0"}, is_development=False)

    assert host == HostJson("api", 1800.0, QueueOptions(16, 16, 5, 0.0, 60.0, is_base64=True))


def test_development_polls_every_two_seconds_at_most(tmp_path: Path) -> None:
    assert read(tmp_path, {"version": "2.0"}).queues.max_polling_interval_seconds == 2.0


def test_every_section_is_read_without_regard_to_case(tmp_path: Path) -> None:
    queues = {
        "BatchSize": 1,
        "maxDequeueCount": 3,
        "visibilityTimeout": "00:00:30",
        "maxPollingInterval": "00:00:00.5",
        "messageEncoding": "none",
    }
    document = {
        "version": "2.0",
        "functionTimeout": "01:00:00",
        "extensions": {"http": {"routePrefix": ""}, "Queues": queues},
    }

    host = read(tmp_path, document)

    assert host == HostJson("", 3600.0, QueueOptions(1, 0, 3, 30.0, 0.5, is_base64=False))


def test_a_function_timeout_of_minus_one_is_none(tmp_path: Path) -> None:
    assert read(tmp_path, {"version": "2.0", "functionTimeout": "-1"}).function_timeout_seconds == math.inf


def test_app_settings_override_host_json_as_on_the_real_host(tmp_path: Path) -> None:
    path = tmp_path / "host.json"
    path.write_text(json.dumps({"version": "2.0", "extensions": {"queues": {"batchSize": 4, "maxDequeueCount": 7}}}))
    settings = {
        "AzureFunctionsJobHost__functionTimeout": "00:00:05",
        "AzureFunctionsJobHost__extensions__queues__visibilityTimeout": "00:00:01",
        "azurefunctionsjobhost__Extensions__Queues__BatchSize": "2",
        "AzureFunctionsJobHost__logging__logLevel__default": "Debug",
        "BATCHSIZE": "9",
    }

    host = read_host_json(path, is_development=True, settings=settings, processors=2)

    assert host == HostJson("api", 5.0, QueueOptions(2, 2, 7, 1.0, 2.0, is_base64=True))


def test_an_override_is_checked_as_the_file_is(tmp_path: Path) -> None:
    path = tmp_path / "host.json"
    path.write_text('{"version": "2.0"}')
    settings = {"AzureFunctionsJobHost__extensions__queues__batchSize": "many"}

    with pytest.raises(ConfigurationError, match=r"extensions\.queues\.batchSize must be a whole number"):
        read_host_json(path, is_development=True, settings=settings)


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ("{", "host.json is not valid JSON"),
        ([], "must be a JSON object"),
        ({"version": "1.0"}, '"version" must be "2.0"'),
        ({"functionTimeout": "soon"}, "functionTimeout must be a time span"),
        ({"functionTimeout": "00:00:00"}, "functionTimeout must be at least"),
        ({"extensions": {"queues": {"batchSize": 33}}}, "extensions.queues.batchSize must be from 1 to 32, not 33"),
        ({"extensions": {"queues": {"batchSize": "many"}}}, "batchSize must be a whole number"),
        ({"extensions": {"queues": {"newBatchThreshold": -1}}}, "newBatchThreshold must be at least 0"),
        ({"extensions": {"queues": {"maxDequeueCount": 0}}}, "maxDequeueCount must be at least 1"),
        ({"extensions": {"queues": {"visibilityTimeout": "00:99:00"}}}, "visibilityTimeout must be a time span"),
        ({"extensions": {"queues": {"maxPollingInterval": "00:00:00"}}}, "maxPollingInterval must be at least 100 ms"),
        ({"extensions": {"queues": {"messageEncoding": "utf8"}}}, "messageEncoding must be"),
        ({"extensions": {"queues": []}}, None),
        ({"extensions": {"http": {"routePrefix": 5}}}, "routePrefix must be a string"),
    ],
)
def test_a_value_that_the_host_refuses_is_named(tmp_path: Path, document: Any, sentence: str | None) -> None:
    if sentence is None:  # an empty section of any kind is no section
        read(tmp_path, document)
        return
    with pytest.raises(ConfigurationError, match=sentence):
        read(tmp_path, document)


def test_a_folder_without_host_json_is_no_function_app(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Unable to find project root"):
        read_host_json(tmp_path / "host.json", is_development=True)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "host.json").mkdir()

    with pytest.raises(ConfigurationError, match=r"host\.json cannot be read: Is a directory\."):
        read_host_json(tmp_path / "host.json", is_development=True)
