"""Names of spans, metrics and attributes, and the one way to record a stage.

It refuses to choose an exporter: `inference.exporters` configures the SDK from the standard OTEL_ settings. With none
configured, OpenTelemetry's no-op implementations make every call here cost next to nothing; a trace has an id even so.

Labels of metrics are low in cardinality (model, version, stage, code, door); urls and item ids go on spans only,
redacted.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from enum import StrEnum
from types import TracebackType
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import metrics, trace
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from inference.errors import InferenceError

_tracer = trace.get_tracer("onnx_functions")
_meter = metrics.get_meter("onnx_functions")
_propagator = TraceContextTextMapPropagator()

_stage_seconds = _meter.create_histogram(
    "inference.stage.duration", unit="s", description="Time of one stage of scoring one image."
)
_items = _meter.create_counter("inference.items", description="Images by outcome: ok, or the code of the error.")
_requests = _meter.create_histogram("inference.request.duration", unit="s", description="Time of one HTTP request.")
_bugs = _meter.create_counter("inference.bugs", description="Unknown exceptions: each one is a defect of this service.")
_callbacks = _meter.create_counter("inference.callbacks", description="Attempts at callbacks by what came of them.")
_batches = _meter.create_counter("inference.batches", description="Batches by the state they ended in.")
_model_loads = _meter.create_counter("inference.model.loads", description="Loads of a model by outcome: ok or a code.")
_model_polls = _meter.create_counter("inference.model.polls", description="Looks at the model repository by outcome.")


class Stage(StrEnum):
    """The closed set of stages; waiting for a core is apart from computing on it."""

    FETCH = "fetch"
    DECODE = "decode"
    PREPROCESS = "preprocess"
    QUEUE = "queue"
    RUN = "run"
    POSTPROCESS = "postprocess"


class Timings:
    """Milliseconds spent in each stage of one image; part of its reply."""

    __slots__ = ("_milliseconds",)

    def __init__(self) -> None:
        self._milliseconds: dict[str, float] = {}

    def add(self, stage: Stage, seconds: float) -> None:
        """Add to a stage, which may run more than once."""
        self._milliseconds[stage] = self._milliseconds.get(stage, 0.0) + seconds * 1000

    def as_dict(self) -> dict[str, float]:
        """Return every stage in its order, 0 where it did not run, to the microsecond."""
        return {str(stage): round(self._milliseconds.get(stage, 0.0), 3) for stage in Stage}


#: Which model the current stage works for, so that stages need no extra parameters (MLServer's model_context).
_labels: ContextVar[Mapping[str, str]] = ContextVar("inference_labels", default={})  # noqa: B039 -- never mutated


@contextmanager
def labelled(**labels: str) -> Iterator[None]:
    """Add labels to every metric recorded inside."""
    token = _labels.set({**_labels.get(), **labels})
    try:
        yield
    finally:
        _labels.reset(token)


class stage:  # noqa: N801 -- used as a function is
    """Record one stage: a span, a histogram sample and the reply's timing.

    No span where the one around it is not recorded: it would not be either, and six of them take a tenth of a
    millisecond an image.
    """

    __slots__ = ("_name", "_opened", "_span", "_started", "_timings")

    def __init__(self, name: Stage, timings: Timings) -> None:
        self._name = name
        self._timings = timings
        self._span: AbstractContextManager[Span] | None = None
        self._opened: Span | None = None
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()
        if not _is_unrecorded(trace.get_current_span()):
            self._span = _tracer.start_as_current_span(
                f"inference.{self._name}", record_exception=False, set_status_on_exception=False
            )
            self._opened = self._span.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_back: TracebackType | None
    ) -> None:
        record_stage(self._name, time.perf_counter() - self._started, self._timings)
        if self._span is not None and self._opened is not None:
            if error is not None:
                mark_failed(self._opened, error_type(error))
            self._span.__exit__(kind, error, trace_back)


def record_stage(name: Stage, seconds: float, timings: Timings) -> None:
    """Record a stage that was measured elsewhere (on an engine thread)."""
    timings.add(name, seconds)
    _stage_seconds.record(seconds, {"stage": str(name), **_labels.get()})


def record_shared_stage(name: Stage, begun_at: float, ended_at: float, timings: Timings) -> None:
    """Record a stage that was done for several images at once, for one of them; times by the performance counter."""
    record_stage(name, ended_at - begun_at, timings)
    if not _is_unrecorded(trace.get_current_span()):
        now, now_ns = time.perf_counter(), time.time_ns()
        begun_ns, ended_ns = (now_ns - round((now - at) * 1e9) for at in (begun_at, ended_at))
        _tracer.start_span(f"inference.{name}", start_time=begun_ns).end(ended_ns)


@contextmanager
def span(
    name: str,
    *,
    parent: str | None = None,
    link: str | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, Any] | None = None,
) -> Iterator[Span]:
    """Open a span; `parent` and `link` are `traceparent` texts that travelled in a message or a header.

    With a parent that travelled, the span around it (the host's own, of the invocation) is linked.
    An InferenceError marks the span with its code, anything else with its class name; messages may hold a url, so
    they stay out.
    """
    around = trace.get_current_span()
    if not parent and not link and _is_unrecorded(around):
        # It would not be recorded either, and its trace is the same.
        yield around
        return
    context = _extract(parent) if parent else None
    linked = [trace.get_current_span(_extract(link))] if link else []
    if parent:
        linked.append(around)
    links = [Link(span.get_span_context()) for span in linked if span.get_span_context().is_valid]
    with _tracer.start_as_current_span(
        name,
        context=context,
        links=links,
        kind=kind,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as opened:
        if not opened.get_span_context().is_valid:
            with trace.use_span(_unrecorded_span(), record_exception=False) as opened:
                yield opened
            return
        try:
            yield opened
        except BaseException as exc:
            mark_failed(opened, error_type(exc))
            raise


def mark_failed(span: Span, kind: str) -> None:
    """Tell the error's type, and not its message, which may hold a url."""
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)


def error_type(exc: BaseException) -> str:
    """Return the stable code of one of our errors, else the name of the class."""
    return exc.code if isinstance(exc, InferenceError) else type(exc).__name__


def traceparent() -> str | None:
    """Return the current span's `traceparent` to put into a message, or None when nothing is traced."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")


def trace_id() -> str | None:
    """Return the current trace id in hex, or None when nothing is traced."""
    context = trace.get_current_span().get_span_context()
    return format(context.trace_id, "032x") if context.is_valid else None


def count_item(outcome: str, door: str) -> None:
    """Count one image: outcome is `ok` or an error code; door is `http`, `batch` or `oip`."""
    _items.add(1, {"outcome": outcome, "door": door, **_labels.get()})


@contextmanager
def counted_item(door: str, *, model: str, version: str) -> Iterator[None]:
    """Label every metric recorded inside with the model, and count the item by how it ends; a caller that left, too."""
    with labelled(model=model, model_version=version):
        try:
            yield
        except BaseException as exc:
            count_item(error_type(exc), door)
            raise
        count_item("ok", door)


def count_bug(where: str) -> None:
    """Count an unknown exception."""
    _bugs.add(1, {"where": where})


def count_batch(state: str) -> None:
    """Count a batch that ended."""
    _batches.add(1, {"state": state})


def count_callback(outcome: str) -> None:
    """Count one attempt at a callback: outcome is `ok`, `retried`, `given_up` or `refused`."""
    _callbacks.add(1, {"outcome": outcome})


def count_model_load(model: str, version: str, outcome: str) -> None:
    """Count one load of a model version: outcome is `ok` or an error code."""
    _model_loads.add(1, {"outcome": outcome, "model": model, "model_version": version})


def count_model_poll(outcome: str) -> None:
    """Count one look at the model repository: outcome is `ok` or an error code."""
    _model_polls.add(1, {"outcome": outcome})


def record_request(seconds: float, route: str, status: int) -> None:
    """Record one HTTP request."""
    _requests.record(seconds, {"http.route": route, "http.response.status_code": status})


def _is_unrecorded(span: Span) -> bool:
    """Tell whether a trace goes on that nobody records: what begins within this span would not be recorded either."""
    return span.get_span_context().is_valid and not span.is_recording()


def _unrecorded_span() -> Span:
    """Return the beginning of a trace that nobody records; it has an id for dead letters, logs and messages.

    The SDK would make one too, with a sampler that is off, for 1.5 MB and ten milliseconds of every cold start.
    """
    # Made as the SDK makes them (RandomIdGenerator); an id of zeros is not valid (W3C Trace Context, 3.2.2.3).
    trace_id, span_id = random.getrandbits(128) or 1, random.getrandbits(64) or 1
    return NonRecordingSpan(SpanContext(trace_id, span_id, is_remote=False))


def _extract(text: str) -> otel_context.Context:
    return _propagator.extract({"traceparent": text})
