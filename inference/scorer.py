"""The straight line from an image's url or bytes to its predictions; both doors call it.

It refuses to know who asks: HTTP and batch bring a permit, a deadline and their own way to tell errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, Strict

from inference import telemetry
from inference.deadline import Deadline
from inference.engine import Engine, Permit
from inference.engine.termination import Termination
from inference.errors import ImageTooLarge, InvalidImage
from inference.image import decode
from inference.models.postprocess import postprocess
from inference.models.preprocess import preprocess
from inference.models.registry import ModelRegistry
from inference.models.repository import parse_reference
from inference.models.session import ModelSession
from inference.settings import FetchLimits, ImageLimits
from inference.telemetry import Stage, Timings, record_stage, stage


@dataclass(frozen=True, slots=True)
class Source:
    """One image: where it is, or its encoded bytes (JPEG, PNG, …)."""

    url: str | None = None
    data: bytes | None = None


class ScoreParameters(BaseModel):
    """What a caller may ask of the postprocessing; an unknown key is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Predictions at most; the model's own number when None.
    top_k: Annotated[int, Strict(), Field(ge=1, le=10_000)] | None = None
    #: Predictions with a lower score are left out, 0 … 1 for probabilities.
    min_score: Annotated[float, Field(ge=0, le=1)] | None = None


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """The image as a viewer shows it: pixels after EXIF orientation."""

    width: int
    height: int
    format: str


@dataclass(frozen=True, slots=True)
class Score:
    """What came out for one image."""

    model: str
    version: str
    task: str
    image: ImageInfo
    predictions: list[Mapping[str, Any]]
    timings: Timings


class Fetches(Protocol):
    """What the scorer asks of the fetcher."""

    async def fetch(self, url: str, *, deadline_seconds: float | None = None) -> bytes:
        """Return the bytes at `url`."""


@dataclass(slots=True)
class _Inferred:
    image: ImageInfo
    predictions: list[Mapping[str, Any]]


class Scorer:
    """Scores one image at a time on the process's models, cores and fetcher."""

    def __init__(
        self,
        registry: ModelRegistry,
        engine: Engine,
        fetcher: Fetches,
        *,
        default_model: str,
        image_limits: ImageLimits,
        fetch_limits: FetchLimits,
    ) -> None:
        self._registry = registry
        self._engine = engine
        self._fetcher = fetcher
        self._default_model = default_model
        self._image_limits = image_limits
        self._max_image_bytes = fetch_limits.max_image_bytes

    async def session(self, model: str | None = None) -> ModelSession:
        """Return the warm session of `NAME[:VERSION]`, the default model for None.

        Raises ModelNotFound, ModelVersionNotFound, ModelUnavailable.
        """
        return await self._registry.get(*parse_reference(model or self._default_model))

    async def score(
        self, source: Source, session: ModelSession, parameters: ScoreParameters, permit: Permit, deadline: Deadline
    ) -> Score:
        """Return the predictions for one image.

        Raises InvalidImage, UnsupportedImage, ImageTooLarge, UrlNotAllowed, OriginFailed, InferenceFailed,
        DeadlineExceeded.
        """
        name, version = session.version.name, session.version.version
        timings, termination = Timings(), Termination()
        with telemetry.labelled(model=name, model_version=version):
            data = await self._read(source, deadline, timings)
            computed = await self._engine.compute(
                permit,
                lambda: self._infer(data, session, parameters, timings, termination),
                deadline,
                abandon=termination.end,
            )
            record_stage(Stage.QUEUE, computed.waited_seconds, timings)
        inferred = computed.value
        return Score(name, version, session.spec.task, inferred.image, inferred.predictions, timings)

    async def _read(self, source: Source, deadline: Deadline, timings: Timings) -> bytes:
        if source.url is not None:
            with stage(Stage.FETCH, timings):
                return await self._fetcher.fetch(source.url, deadline_seconds=deadline.remaining())
        if not source.data:
            raise InvalidImage("The image is empty.")
        if len(source.data) > self._max_image_bytes:
            raise ImageTooLarge(f"The image has more than {self._max_image_bytes} bytes.")
        return source.data

    def _infer(
        self,
        data: bytes,
        session: ModelSession,
        parameters: ScoreParameters,
        timings: Timings,
        termination: Termination,
    ) -> _Inferred:
        """Compute, on an engine thread: a stage a line."""
        with stage(Stage.DECODE, timings):
            image = decode(data, self._image_limits)
        with stage(Stage.PREPROCESS, timings):
            tensor = preprocess(image.rgb, session.spec)
        with stage(Stage.RUN, timings):
            outputs = session.run(tensor, run_options=termination.options)
        with stage(Stage.POSTPROCESS, timings):
            predictions = postprocess(outputs, session.spec, **parameters.model_dump())
        return _Inferred(ImageInfo(image.width, image.height, image.format), list(predictions))
