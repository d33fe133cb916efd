"""Stages, items and spans as they reach an exporter, in processes of their own, as providers are global."""

import json
import subprocess
import sys
from typing import Any

from inference import telemetry

PROGRAM = """\
import json
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
tracers = TracerProvider()
tracers.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(tracers)
metrics.set_meter_provider(MeterProvider([reader]))

from inference import telemetry
from inference.errors import ImageNotFound
from inference.telemetry import Stage, Timings

timings = Timings()
with telemetry.span("batch.item", parent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"):
    with telemetry.counted_item("batch", model="digits", version="1"):
        with telemetry.stage(Stage.DECODE, timings):
            pass
        telemetry.record_stage(Stage.QUEUE, 0.25, timings)
        telemetry.record_shared_stage(Stage.RUN, 1.0, 1.5, timings)
        travelling = telemetry.traceparent()
try:
    with (
        telemetry.span("failing"),
        telemetry.counted_item("http", model="digits", version="1"),
        telemetry.stage(Stage.FETCH, timings),
    ):
        raise ImageNotFound("https://host/secret")
except ImageNotFound:
    pass
with telemetry.span("the host's own"):
    with telemetry.span("of a message", parent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"):
        pass
telemetry.count_bug("score")

import asyncio
from inference.errors import DeadlineExceeded
from inference.http import edge
from inference.http.messages import Request

def failing(error):
    async def handler(request):
        raise error
    return handler

for error in DeadlineExceeded("https://host/secret"), ImageNotFound("https://host/secret"):
    asyncio.run(edge.respond(error.code, failing(error), Request("POST", "http://localhost/api")))

points = [
    [metric.name, dict(point.attributes), getattr(point, "sum", getattr(point, "value", None)), metric.unit]
    for resource in reader.get_metrics_data().resource_metrics
    for scope in resource.scope_metrics for metric in scope.metrics for point in metric.data.data_points
]
by_name = {s.name: s for s in spans.get_finished_spans()}
linked = [by_name["the host's own"].context == link.context for s in by_name.values() for link in s.links]
told = [[s.name, format(s.context.trace_id, "032x"), dict(s.attributes), s.status.is_ok, s.status.description,
         len(s.events)] for s in spans.get_finished_spans()]
print(json.dumps({"points": points, "spans": told, "travelling": travelling, "linked": linked,
                  "timings": timings.as_dict()}))
"""


def run(program: str) -> Any:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_stages_items_and_bugs_are_recorded_with_labels_of_low_cardinality() -> None:
    told = run(PROGRAM)

    points = {(name, *sorted(attributes.items())): (value, unit) for name, attributes, value, unit in told["points"]}
    labels = [("model", "digits"), ("model_version", "1")]
    assert points[("inference.stage.duration", *labels, ("stage", "queue"))] == (0.25, "s")
    assert points[("inference.stage.duration", *labels, ("stage", "run"))] == (0.5, "s")
    assert ("inference.stage.duration", *labels, ("stage", "decode")) in points
    assert points[("inference.items", ("door", "batch"), *labels, ("outcome", "ok"))][0] == 1
    assert points[("inference.items", ("door", "http"), *labels, ("outcome", "image_not_found"))][0] == 1
    assert points[("inference.bugs", ("where", "score"))][0] == 1
    assert list(told["timings"]) == ["fetch", "decode", "preprocess", "queue", "run", "postprocess"]
    assert told["timings"]["queue"] == 250


def test_a_span_continues_the_trace_of_its_message_and_a_failed_one_tells_its_code_and_no_more() -> None:
    told = run(PROGRAM)

    spans = {name: rest for name, *rest in told["spans"]}
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    assert spans["batch.item"][0] == spans["inference.decode"][0] == spans["inference.run"][0] == trace_id
    assert told["travelling"].startswith(f"00-{trace_id}-")
    assert spans["failing"][0] != trace_id
    assert spans["failing"][1:] == spans["inference.fetch"][1:] == [{"error.type": "image_not_found"}, False, None, 0]
    assert spans["of a message"][0] == trace_id
    late, missing = spans["POST deadline_exceeded"], spans["POST image_not_found"]
    assert (late[1]["error.type"], late[1]["http.response.status_code"], *late[2:]) == (
        "deadline_exceeded",
        504,
        False,
        None,
        0,
    )
    assert (missing[1].get("error.type"), missing[1]["http.response.status_code"]) == (None, 424)
    assert told["linked"] == [True]
    assert "secret" not in json.dumps(told)


def test_stage_makes_no_span_within_one_that_is_not_recorded() -> None:
    program = (
        PROGRAM.replace("TracerProvider()", "TracerProvider(sampler=ALWAYS_OFF)")
        .replace("import json\n", "import json\nfrom opentelemetry.sdk.trace.sampling import ALWAYS_OFF\n")
        .replace(
            "            pass\n",
            "            inside = trace.get_current_span()\n        outside = trace.get_current_span()\n",
        )
    )
    told = run(program.replace('"spans": told', '"spans": told, "same": inside is outside'))

    assert told["same"]
    assert told["spans"] == []
    assert told["timings"]["queue"] == 250.0
    assert [point for point in told["points"] if point[0] == "inference.stage.duration"]


def test_a_trace_that_nobody_records_keeps_its_id_from_span_to_span() -> None:
    """No provider is set in the tests' own process, as in a service that exports nothing."""
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    with telemetry.span("request"):
        begun = telemetry.trace_id()
        with telemetry.span("batch.item", parent=parent):
            inherited, travelling = telemetry.trace_id(), telemetry.traceparent()
        with telemetry.span("batch.finish"):
            assert telemetry.trace_id() == begun

    assert begun is not None
    assert inherited == parent.split("-")[1]
    assert travelling is not None
    assert travelling.split("-")[1] == inherited
    assert telemetry.trace_id() is None
