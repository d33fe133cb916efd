"""The infer routes: read, run and reply on one of the engine's cores, within one deadline.

It refuses to postprocess: callers of this protocol get the model's own outputs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from numpy.typing import NDArray

from inference import telemetry
from inference.deadline import Deadline
from inference.engine import Engine
from inference.engine.termination import Termination
from inference.errors import InferenceFailed, InvalidRequest
from inference.http.compression import check_size, unpack
from inference.http.messages import Request, Response
from inference.http.oip.images import ImageDecoder
from inference.http.oip.inputs import Feeds, build_feeds, check_equal_sizes
from inference.http.oip.lookup import find_session
from inference.http.oip.metadata import max_batch_size
from inference.http.oip.raw import read_raw_request
from inference.http.oip.replies import build_reply, choose_outputs
from inference.http.oip.requests import HEADER_LENGTH, InferRequest, is_raw, read_infer_request
from inference.http.oip.statistics import Durations, Statistics
from inference.models.registry import ModelRegistry
from inference.models.session import ModelSession
from inference.settings import FetchLimits, ImageSettings, RequestLimits
from inference.telemetry import Stage, Timings, record_stage, stage

_HEADER_LENGTH = HEADER_LENGTH.lower()


class Limits(Struct, frozen=True):
    """How much one request may ask."""

    requests: RequestLimits
    images: ImageSettings
    fetch: FetchLimits


class _Inferred(Struct, frozen=True):
    response: Response
    batch_size: int
    compute_input: int
    compute_infer: int
    compute_output: int


class InferRoutes:
    """Handlers of `/v2/models/{model}[/versions/{version}]/infer`."""

    def __init__(self, registry: ModelRegistry, engine: Engine, statistics: Statistics, limits: Limits) -> None:
        self._registry = registry
        self._engine = engine
        self._statistics = statistics
        self._limits = limits

    async def infer(self, request: Request) -> Response:
        """Run the model once on the request's tensors."""
        deadline = Deadline.after(self._limits.requests.timeout_seconds)
        check_size(request, self._limits.requests)
        session = await deadline.bound(find_session(self._registry, request))
        model, version = session.version.name, session.version.version
        started = time.perf_counter()
        try:
            with telemetry.counted_item("oip", model=model, version=version):
                inferred, waited = await self._compute(request, session, deadline)
        except BaseException:
            self._statistics.fail(model, version, time.perf_counter() - started)
            raise
        durations = Durations(
            round(waited * 1e9), inferred.compute_input, inferred.compute_infer, inferred.compute_output
        )
        seconds = time.perf_counter() - started
        self._statistics.succeed(model, version, inferred.batch_size, seconds, durations)
        return inferred.response

    async def _compute(self, request: Request, session: ModelSession, deadline: Deadline) -> tuple[_Inferred, float]:
        timings, termination = Timings(), Termination()
        with self._engine.admit() as permit:
            computed = await self._engine.compute(
                permit,
                lambda: self._infer(request, session, timings, termination),
                deadline,
                abandon=termination.end,
            )
        record_stage(Stage.QUEUE, computed.waited_seconds, timings)
        return computed.value, computed.waited_seconds

    def _infer(self, request: Request, session: ModelSession, timings: Timings, termination: Termination) -> _Inferred:
        """Compute, on an engine thread: reading megabytes of JSON would hold up the event loop."""
        if session.spec.task == "script":
            raise InvalidRequest(f"{session.version} is served by its own code, which takes no tensors: use /score.")
        started = time.perf_counter_ns()
        limits = self._limits
        batch_limit = max_batch_size(session, limits.requests.max_inputs)
        decoder = ImageDecoder(
            limits.images, limits.fetch.max_image_bytes, limits.requests.max_inputs, timings, termination
        )
        wanted = self._read(request, session)
        outputs = choose_outputs(wanted, session)
        feeds = build_feeds(wanted.inputs, session, decoder, batch_limit)
        ready = time.perf_counter_ns()
        names = [output.name for output in outputs]
        with stage(Stage.RUN, timings), self._engine.alone(wanted=session.has_idle_lane) as is_alone:
            arrays = _run(session, feeds, termination, names, is_alone=is_alone)
        ran = time.perf_counter_ns()
        with stage(Stage.POSTPROCESS, timings):
            accepted = request.headers.get("accept-encoding", "")
            response = build_reply(wanted.id or request.id, session, arrays, outputs, accepted)
        items = next(iter(feeds.values())).shape[0] if batch_limit and feeds else 1
        return _Inferred(response, items, ready - started, ran - ready, time.perf_counter_ns() - ran)

    def _read(self, request: Request, session: ModelSession) -> InferRequest:
        body = unpack(request, self._limits.requests).body
        length = request.headers.get(_HEADER_LENGTH)
        if is_raw(length):
            return read_raw_request(body, session, self._limits.images)
        return read_infer_request(body, length, session.version.name)


def _run(
    session: ModelSession, feeds: Feeds, termination: Termination, names: Sequence[str], *, is_alone: bool
) -> Mapping[str, NDArray[Any]]:
    """Run once. Raises InvalidRequest in place of InferenceFailed where inputs do not fit each other."""
    try:
        return session.run_tensors(feeds, run_options=termination.options, output_names=names, is_alone=is_alone)
    except InferenceFailed:
        check_equal_sizes(feeds, session.signature)
        raise
