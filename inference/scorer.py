"""The straight line from an image or a text, or the url of one, to its predictions; both doors call it.

It refuses to know who asks: HTTP and batch bring a permit, a deadline and their own way to tell errors.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Protocol
from weakref import WeakKeyDictionary, ref

import orjson
from msgspec import Meta, Struct
from numpy.typing import NDArray

from inference.deadline import Deadline
from inference.engine import Engine, Permit
from inference.engine.batching import Batcher
from inference.engine.termination import Termination
from inference.errors import DeadlineExceeded, ImageTooLarge, InvalidImage, InvalidRequest
from inference.models.catalog import parse_reference
from inference.models.encoded_image import prepare_image
from inference.models.geometry import Frame
from inference.models.postprocess import check_parameters, postprocess
from inference.models.registry import ModelRegistry
from inference.models.rows import join_rows, split_rows
from inference.models.script import ScriptSession
from inference.models.session import ModelSession
from inference.models.tasks.text import decode_text, encode_text
from inference.schema import Table
from inference.settings import FetchLimits, ImageSettings
from inference.telemetry import Stage, Timings, record_shared_stage, record_stage, stage


class Source(Struct, frozen=True):
    """One image or text: where it is, an image's encoded bytes (JPEG, PNG, …), or the text itself."""

    url: str | None = None
    data: bytes | None = None
    text: str | None = None


class ScoreParameters(Table, frozen=True):
    """What a caller may ask of the postprocessing; an unknown key is refused."""

    #: Predictions at most; the model's own number when None.
    top_k: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    #: Predictions with a lower score are left out, 0 … 1 for probabilities.
    min_score: Annotated[float, Meta(ge=0, le=1)] | None = None
    #: Detection: boxes with a lower score are not looked at.
    score_threshold: Annotated[float, Meta(ge=0, le=1)] | None = None
    #: Detection: of two boxes of a class that overlap by more, the better one stays.
    iou_threshold: Annotated[float, Meta(ge=0, le=1)] | None = None
    #: Detection: boxes at most.
    max_detections: Annotated[int, Meta(ge=1, le=1_000)] | None = None


class ImageInfo(Struct, frozen=True):
    """The image as a viewer shows it: pixels after EXIF orientation."""

    width: int
    height: int
    format: str


class Score(Struct, frozen=True):
    """What came out for one image or text."""

    model: str
    version: str
    task: str
    #: None for a text.
    image: ImageInfo | None
    predictions: list[Mapping[str, Any]]
    timings: Timings


class Fetches(Protocol):
    """What the scorer asks of the fetcher."""

    async def fetch(self, url: str, *, deadline_seconds: float | None = None) -> bytes:
        """Return the bytes at `url`."""


class _Inferred(Struct):
    image: ImageInfo | None
    predictions: list[Mapping[str, Any]]


class _Prepared(Struct, frozen=True):
    tensor: NDArray[Any]
    image: ImageInfo | None
    frame: Frame | None


class _Ran(Struct, frozen=True):
    """What a run gave for one item, and when it went on, by the performance counter."""

    outputs: Mapping[str, NDArray[Any]]
    begun_at: float
    ended_at: float


class Scorer:
    """Scores one image or text at a time on the process's models, cores and fetcher.

    Its metrics have the labels of the `telemetry.labelled` around each call.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        engine: Engine,
        fetcher: Fetches,
        *,
        default_model: str,
        images: ImageSettings,
        fetch_limits: FetchLimits,
    ) -> None:
        self._registry = registry
        self._engine = engine
        self._fetcher = fetcher
        self._default_model = default_model
        self._images = images
        self._max_image_bytes = fetch_limits.max_image_bytes
        self._batchers: WeakKeyDictionary[ModelSession, Batcher[NDArray[Any], _Ran]] = WeakKeyDictionary()

    async def session(self, model: str | None = None, *, sticky_key: str | None = None) -> ModelSession:
        """Return the warm session of `NAME[:VERSION]`, the default model for None.

        Only callers that give a `sticky_key` may get a canary; equal keys get equal versions.

        Raises ModelNotFound, ModelVersionNotFound, ModelUnavailable.
        """
        name, version = parse_reference(model or self._default_model)
        return await self._registry.get(name, version, sticky_key=sticky_key)

    async def score(
        self, source: Source, session: ModelSession, parameters: ScoreParameters, permit: Permit, deadline: Deadline
    ) -> Score:
        """Return the predictions for one image or text.

        Raises InvalidRequest for what the model does not take, InvalidImage, UnsupportedImage, ImageTooLarge,
        InvalidText, UrlNotAllowed, OriginFailed, InferenceFailed, DeadlineExceeded.
        """
        check_source(source, session)
        wanted = check_parameters(session.spec, parameters.as_dict())
        timings, termination = Timings(), Termination()
        data = await self._read(source, deadline, timings)
        if session.plan is not None and session.plan.max_batch > 1:
            inferred, waited = await self._infer_joined(data, session, wanted, permit, deadline, timings)
        else:
            computed = await self._engine.compute(
                permit,
                lambda: self._infer(data, session, wanted, timings, termination),
                deadline,
                abandon=termination.end,
                turns=session.turns,
            )
            inferred, waited = computed.value, computed.waited_seconds
        record_stage(Stage.QUEUE, waited, timings)
        version = session.version
        return Score(version.name, version.version, session.spec.task, inferred.image, inferred.predictions, timings)

    async def run_script(
        self, body: bytes, headers: Mapping[str, str], session: ScriptSession, permit: Permit, deadline: Deadline
    ) -> bytes:
        """Return what a version's own score.py answers to a request's body, as JSON.

        Raises InvalidText, InferenceFailed, DeadlineExceeded; a script that is under way then runs to its end.
        """
        timings = Timings()
        computed = await self._engine.compute(
            permit, lambda: _run_script(body, session, timings, headers), deadline, turns=session.turns
        )
        record_stage(Stage.QUEUE, computed.waited_seconds, timings)
        return computed.value

    async def _read(self, source: Source, deadline: Deadline, timings: Timings) -> bytes:
        if source.url is not None:
            with stage(Stage.FETCH, timings):
                return await self._fetcher.fetch(source.url, deadline_seconds=deadline.remaining())
        if source.text is not None:
            return source.text.encode()
        if not source.data:
            raise InvalidImage("The image is empty.")
        if len(source.data) > self._max_image_bytes:
            raise ImageTooLarge(f"The image has more than {self._max_image_bytes} bytes.")
        return source.data

    def _infer(
        self,
        data: bytes,
        session: ModelSession,
        wanted: Mapping[str, Any],
        timings: Timings,
        termination: Termination,
    ) -> _Inferred:
        """Compute, on an engine thread: a stage a line."""
        if isinstance(session, ScriptSession):
            return _Inferred(None, _as_list(_run_script(data, session, timings)))
        prepared = self._prepare(data, session, timings)
        with stage(Stage.RUN, timings), self._engine.alone(wanted=session.has_idle_lane) as is_alone:
            outputs = session.run(prepared.tensor, run_options=termination.options, is_alone=is_alone)
        return _conclude(prepared, outputs, session, wanted, timings)

    async def _infer_joined(
        self,
        data: bytes,
        session: ModelSession,
        wanted: Mapping[str, Any],
        permit: Permit,
        deadline: Deadline,
        timings: Timings,
    ) -> tuple[_Inferred, float]:
        """Compute in three pieces, so that the runs of several items can be one; what is no image fails before it."""
        prepared = await self._engine.compute(permit, lambda: self._prepare(data, session, timings), deadline)
        asked_at = time.perf_counter()
        ran = await self._batcher(session).run(permit, prepared.value.tensor, deadline)
        record_shared_stage(Stage.RUN, ran.begun_at, ran.ended_at, timings)
        concluded = await self._engine.compute(
            permit, lambda: _conclude(prepared.value, ran.outputs, session, wanted, timings), deadline
        )
        waited = prepared.waited_seconds + (ran.begun_at - asked_at) + concluded.waited_seconds
        return concluded.value, waited

    def _prepare(self, data: bytes, session: ModelSession, timings: Timings) -> _Prepared:
        spec = session.spec
        if spec.task == "text":
            with stage(Stage.DECODE, timings):
                text = decode_text(data)
            with stage(Stage.PREPROCESS, timings):
                return _Prepared(encode_text(text, spec), None, None)
        image = prepare_image(data, spec, self._images, timings)
        info = ImageInfo(image.frame.width, image.frame.height, image.format)
        return _Prepared(image.tensor, info, image.frame)

    def _batcher(self, session: ModelSession) -> Batcher[NDArray[Any], _Ran]:
        batcher = self._batchers.get(session)
        if batcher is None:
            # Not the session itself: what holds on to its own key is never dropped.
            weakly = ref(session)
            largest = session.plan.max_batch if session.plan is not None else 1
            batcher = Batcher(self._engine, lambda tensors, end: self._run_many(weakly, tensors, end), largest)
            self._batchers[session] = batcher
        return batcher

    def _run_many(
        self, weakly: ref[ModelSession], tensors: Sequence[NDArray[Any]], termination: Termination
    ) -> Sequence[_Ran]:
        """Run the items once, on an engine thread; one that is all there is goes as it would without company."""
        session = weakly()
        if session is None:  # its callers hold it, so that all of them have left
            raise DeadlineExceeded
        begun_at = time.perf_counter()
        with self._engine.alone(wanted=len(tensors) == 1 and session.has_idle_lane) as is_alone:
            outputs = session.run(join_rows(tensors), run_options=termination.options, is_alone=is_alone)
        ended_at = time.perf_counter()
        return [_Ran(rows, begun_at, ended_at) for rows in split_rows(outputs, len(tensors))]


def _conclude(
    prepared: _Prepared,
    outputs: Mapping[str, NDArray[Any]],
    session: ModelSession,
    wanted: Mapping[str, Any],
    timings: Timings,
) -> _Inferred:
    with stage(Stage.POSTPROCESS, timings):
        predictions = postprocess(outputs, session.spec, frame=prepared.frame, **wanted)
    return _Inferred(prepared.image, list(predictions))


def check_source(source: Source, session: ModelSession) -> None:
    """Raise InvalidRequest for an image that is given to a model of texts, the reverse, and a model that takes neither.

    A url may be either: what is there is read as the model's task wants it.
    """
    task = session.spec.task
    if task == "tensor" or (task == "text" and session.spec.output.name is None):
        where = f"/v2/models/{session.version.name}/infer"
        raise InvalidRequest(f"{session.version} takes tensors and gives tensors: send them to {where}.")
    if task in ("text", "script") and source.data is not None:
        raise InvalidRequest(f"{session.version} takes a text, not an image.")
    if task not in ("text", "script") and source.text is not None:
        raise InvalidRequest(f"{session.version} takes an image, not a text.")


def _run_script(
    body: bytes, session: ScriptSession, timings: Timings, headers: Mapping[str, str] | None = None
) -> bytes:
    with stage(Stage.RUN, timings):
        return session.run_script(body, headers)


def _as_list(value: bytes) -> list[Any]:
    """Return what a script answered as the predictions of a row, which are a list."""
    parsed = orjson.loads(value)
    return parsed if isinstance(parsed, list) else [parsed]
