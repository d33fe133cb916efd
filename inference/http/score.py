"""The score routes: one image or text, or several at once, each with its own outcome; or a model's own score.py."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from msgspec.structs import asdict

from inference import telemetry
from inference.deadline import Deadline
from inference.engine import Engine
from inference.errors import InferenceError, InvalidRequest
from inference.http.bodies import Input, ScoreRequest, read_score_request
from inference.http.compression import unpacked
from inference.http.messages import Request, Response, json_response
from inference.models.script import ScriptSession
from inference.models.session import ModelSession
from inference.scorer import Score, Scorer
from inference.settings import RequestLimits

#: Of the caller's headers, those that a model's own code has no business with.
_SECRET_HEADERS = frozenset({"authorization", "cookie", "x-functions-key"})

#: Reading less than this takes a few milliseconds at most.
_LARGE_BODY_BYTES = 1024 * 1024


class ScoreRoutes:
    """Handlers of `/score` and the model routes."""

    def __init__(self, scorer: Scorer, engine: Engine, limits: RequestLimits) -> None:
        self._scorer = scorer
        self._engine = engine
        self._limits = limits

    async def score(self, request: Request) -> Response:
        """Score what the body or the query names."""
        deadline = Deadline.after(self._limits.timeout_seconds)
        request = await deadline.bound(unpacked(request, self._limits))
        session = await deadline.bound(self._scorer.session(_model(request), sticky_key=request.id))
        if isinstance(session, ScriptSession):
            return await self._run_script(request, session, deadline)
        wanted = await self._read(request, deadline, takes_text=session.spec.task == "text")
        if wanted.is_list:
            return json_response({"results": await self._score_all(wanted, session, deadline, request.id)})
        return json_response(await self._score_one(wanted.inputs[0], wanted, session, deadline, request.id))

    async def _read(self, request: Request, deadline: Deadline, *, takes_text: bool) -> ScoreRequest:
        read = partial(read_score_request, request, self._limits, takes_text=takes_text)
        # On a thread, a large one: it takes tenths of a second, in which others want an answer.
        return read() if len(request.body) < _LARGE_BODY_BYTES else await deadline.bound(asyncio.to_thread(read))

    async def _run_script(self, request: Request, session: ScriptSession, deadline: Deadline) -> Response:
        """Answer as Azure ML's server does: the body is the script's, and so is the reply."""
        if request.method != "POST":
            raise InvalidRequest(f"{session.version} is served by its own score.py: POST what its run() takes.")
        headers = {name: value for name, value in request.headers.items() if name not in _SECRET_HEADERS}
        with self._counted(session), self._engine.admit() as permit:
            body = await self._scorer.run_script(request.body, headers, session, permit, deadline)
        return Response(200, body, {"content-type": "application/json"})

    async def _score_all(
        self, wanted: ScoreRequest, session: ModelSession, deadline: Deadline, request_id: str
    ) -> list[dict[str, Any]]:
        async def outcome(index: int, image: Input) -> dict[str, Any]:
            identity = image.id if image.id is not None else str(index)
            try:
                return await self._score_one(image, wanted, session, deadline, identity)
            except InferenceError as exc:
                return {"id": identity, "error": exc.message, "code": exc.code, "request_id": request_id}

        # A task group would cancel the neighbours of an unknown exception; here they end first, then it is a 500.
        outcomes = await asyncio.gather(
            *(outcome(i, image) for i, image in enumerate(wanted.inputs)), return_exceptions=True
        )
        results = []
        for one in outcomes:
            if isinstance(one, BaseException):
                raise one
            results.append(one)
        return results

    def _counted(self, session: ModelSession) -> AbstractContextManager[None]:
        return telemetry.counted_item("http", model=session.version.name, version=session.version.version)

    async def _score_one(
        self, image: Input, wanted: ScoreRequest, session: ModelSession, deadline: Deadline, default_id: str
    ) -> dict[str, Any]:
        with self._counted(session), self._engine.admit() as permit:
            if image.refusal is not None:
                raise image.refusal
            score = await self._scorer.score(image.source, session, wanted.parameters, permit, deadline)
        return _reply(score, image.id if image.id is not None else default_id)


def _reply(score: Score, identity: str) -> dict[str, Any]:
    return {
        "id": identity,
        "model": score.model,
        "version": score.version,
        "task": score.task,
        **({} if score.image is None else {"image": asdict(score.image)}),
        "predictions": score.predictions,
        "timings_ms": score.timings.as_dict(),
    }


def _model(request: Request) -> str | None:
    model, version = request.path.get("model"), request.path.get("version")
    return f"{model}:{version}" if version is not None else model
