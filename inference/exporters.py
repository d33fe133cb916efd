"""Where spans and metrics go: Azure Monitor, OTLP or the console, by the standard settings; nowhere by default.

It refuses to configure twice: when the worker itself set up Azure Monitor
(`PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY`), its providers are used as they are.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from opentelemetry import metrics, trace

from inference.errors import SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor

_log = logging.getLogger("inference.exporters")

SERVICE_NAME = "onnx-functions"

#: For a collector that does not answer: a process that drains has half a minute in all.
_FLUSH_SECONDS = 3.0
_KINDS = ("otlp", "console", "none")


def configure(environ: Mapping[str, str], version: str) -> None:
    """Install tracer and meter providers for this process.

    `OTEL_TRACES_EXPORTER` and `OTEL_METRICS_EXPORTER` choose among otlp, console and none; when they are unset, an OTLP
    endpoint means otlp.

    Raises SettingsError.
    """
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return
    to_azure = environ.get("APPLICATIONINSIGHTS_CONNECTION_STRING")
    traces, meters = ([], []) if to_azure else (_exporters(environ, "TRACES"), _exporters(environ, "METRICS"))
    if not (to_azure or traces or meters):
        return
    # Imported here, as all of the SDK: a cold start that exports nothing does not pay for it.
    from opentelemetry.sdk.resources import Resource

    resource = Resource.create(
        {"service.name": environ.get("OTEL_SERVICE_NAME", SERVICE_NAME), "service.version": version}
    )
    if to_azure:
        # Imported here: it takes most of a second, and only Azure needs it.
        from azure.monitor.opentelemetry import configure_azure_monitor

        configure_azure_monitor(resource=resource, logger_name="inference")
        return
    if traces:
        _install_tracers(traces, resource)
    if meters:
        _install_meters(meters, resource)


async def flush() -> None:
    """Send what was not sent yet, up to a minute of metrics: who ends by SIGTERM does not do it by itself."""
    providers = (trace.get_tracer_provider(), metrics.get_meter_provider())
    # Those that export nothing have none.
    flushes = [provider.force_flush for provider in providers if hasattr(provider, "force_flush")]
    sent = asyncio.gather(*(asyncio.to_thread(flush) for flush in flushes), return_exceptions=True)
    try:
        outcomes = await asyncio.wait_for(sent, _FLUSH_SECONDS)
    except TimeoutError:
        outcomes = [TimeoutError()]
    for failure in (outcome for outcome in outcomes if isinstance(outcome, BaseException)):
        _log.warning("telemetry not sent: %s", type(failure).__name__, extra={"action": "telemetry_not_sent"})


def _exporters(environ: Mapping[str, str], signal: str) -> list[str]:
    name = f"OTEL_{signal}_EXPORTER"
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    default = "otlp" if any(environ.get(endpoint) for endpoint in endpoints) else "none"
    kinds = [kind.strip().lower() for kind in (environ.get(name) or default).split(",")]
    if unknown := sorted(set(kinds) - set(_KINDS)):
        raise SettingsError([f"{name}: {', '.join(unknown)} is not one of {', '.join(_KINDS)}"])
    return [kind for kind in kinds if kind != "none"]


def _install_tracers(kinds: Iterable[str], resource: Resource) -> None:
    from opentelemetry.sdk.trace import TracerProvider

    tracers = TracerProvider(resource=resource)
    for kind in kinds:
        tracers.add_span_processor(_span_processor(kind))
    trace.set_tracer_provider(tracers)


def _span_processor(kind: str) -> SpanProcessor:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor

    if kind == "console":
        return SimpleSpanProcessor(ConsoleSpanExporter(out=sys.stderr))
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return BatchSpanProcessor(OTLPSpanExporter())


def _install_meters(kinds: Iterable[str], resource: Resource) -> None:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricExporter, PeriodicExportingMetricReader

    def make_exporter(kind: str) -> MetricExporter:
        if kind == "console":
            return ConsoleMetricExporter(out=sys.stderr)
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        return OTLPMetricExporter()

    readers = [PeriodicExportingMetricReader(make_exporter(kind)) for kind in kinds]
    metrics.set_meter_provider(MeterProvider(readers, resource))
