"""Which exporters the standard settings choose; each in a process of its own, as providers are global."""

import json
import signal
import subprocess
import sys
from typing import Any

import pytest

from inference import exporters
from inference.errors import SettingsError

PROGRAM = """\
import json, sys
from opentelemetry import metrics, trace
from inference import exporters, telemetry
exporters.configure(json.loads(sys.argv[1]), "1.2.3")
tracers, meters = trace.get_tracer_provider(), metrics.get_meter_provider()
processors = tracers._active_span_processor._span_processors if hasattr(tracers, "resource") else []
readers = getattr(meters, "_all_metric_readers", [])
resource = getattr(tracers, "resource", None) or getattr(getattr(meters, "_sdk_config", None), "resource", None)
exporter = lambda processor: type(getattr(processor, "span_exporter", None)).__name__
with telemetry.span("s"):
    traced = telemetry.trace_id() is not None
print(json.dumps([[exporter(p) for p in processors], len(list(readers)),
                  resource and [resource.attributes["service.name"], resource.attributes["service.version"]], traced]))
"""


def configure(**environ: str) -> Any:
    # The readers' threads end with the process; nothing listens at the endpoint, and nobody waits for it.
    program = PROGRAM + "import os; sys.stdout.flush(); os._exit(0)"
    arguments = [sys.executable, "-c", program, json.dumps(environ)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("environ", "spans", "readers"),
    [
        ({}, [], 0),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, [], 1),
        ({"OTEL_TRACES_EXPORTER": "console"}, ["ConsoleSpanExporter"], 0),
        ({"OTEL_METRICS_EXPORTER": "console"}, [], 1),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9"}, ["OTLPSpanExporter"], 0),
    ],
)
def test_the_standard_settings_choose(environ: dict[str, str], spans: list[str], readers: int) -> None:
    found, metric_readers, resource, traced = configure(**environ)

    assert (found, metric_readers) == (spans, readers)
    assert resource == (["onnx-functions", "1.2.3"] if spans or readers else None)
    assert traced  # even with no exporter, so that dead letters carry a trace id


def test_the_service_can_be_named() -> None:
    assert configure(OTEL_SERVICE_NAME="mine", OTEL_METRICS_EXPORTER="console")[2] == ["mine", "1.2.3"]


def test_an_unknown_exporter_is_refused() -> None:
    with pytest.raises(SettingsError, match="OTEL_TRACES_EXPORTER: jaeger is not one of"):
        exporters.configure({"OTEL_TRACES_EXPORTER": "console,jaeger"}, "1")


def test_what_was_not_sent_yet_is_sent_before_a_signal_ends_the_process() -> None:
    program = """\
import asyncio
from inference import draining, exporters, telemetry
draining.LINGER_SECONDS = 0
exporters.configure({"OTEL_METRICS_EXPORTER": "console", "OTEL_TRACES_EXPORTER": "console"}, "1.2.3")

async def main():
    telemetry.count_item("ok", "http")
    draining.Draining().start(exporters.flush)
    await asyncio.Event().wait()

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == -signal.SIGTERM
    assert '"name": "inference.items"' in done.stderr


async def test_nothing_is_sent_where_nothing_is_exported() -> None:
    await exporters.flush()
