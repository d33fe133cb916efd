"""Health, readiness and version: what probes and operators ask; it refuses to tell more than names and states."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from inference.errors import InferenceError, ModelUnavailable
from inference.http.messages import Request, Response, json_response
from inference.http.statuses import status_of
from inference.models.catalog import parse_reference
from inference.models.registry import ModelRegistry

if TYPE_CHECKING:
    from inference.models.session import ModelSession


class StatusRoutes:
    """Handlers of `/health`, `/ready` and `/version`."""

    def __init__(self, registry: ModelRegistry, models: Sequence[str], version: str) -> None:
        """`models` are `NAME[:VERSION]`, the service's default first: the console goes by that."""
        self._registry = registry
        self._models = models
        self._version = version
        self._loading: asyncio.Task[list[ModelSession | InferenceError]] | None = None

    async def health(self, _: Request) -> Response:
        """Say that the process answers."""
        return json_response({"status": "live"})

    async def ready(self, request: Request) -> Response:
        """Say 200 once every configured model is warm; each call while one is not sees to it that it is loading."""
        self.warm()
        await self._briefly()
        models = [await self._state(model) for model in self._models]
        if all(model["state"] == "ready" for model in models):
            return json_response({"status": "ready", "models": models})
        waiting = ", ".join(model["model"] for model in models if model["state"] != "ready")
        body = {"error": f"Not ready: {waiting}.", "code": ModelUnavailable.code, "request_id": request.id}
        return json_response({**body, "models": models}, status_of(ModelUnavailable))

    async def version(self, _: Request) -> Response:
        """Name the build and the model versions that serve."""
        models = [
            {"model": state.name, "version": state.version, "sha256": state.session.sha256}
            for state in await self._registry.states()
            if state.is_default and state.session is not None
        ]
        return json_response(
            {"name": "onnx-functions", "version": self._version, "python": platform.python_version(), "models": models}
        )

    def warm(self) -> None:
        """Start loading the configured models unless that is under way, or done for all of them."""
        # Loading again what is warm would let a busy loop, slower than `_briefly`, take readiness back for a moment.
        if self._loading is None or (self._loading.done() and not _is_warm(self._loading)):
            self._loading = asyncio.get_running_loop().create_task(self._load_all())

    async def load(self) -> None:
        """Load the configured models, and wait until that has worked or failed."""
        self.warm()
        if self._loading is not None:
            await asyncio.wait({self._loading})

    async def _load_all(self) -> list[ModelSession | InferenceError]:
        return await asyncio.gather(*(self._loaded(model) for model in self._models))

    async def _briefly(self) -> None:
        """Give loaded models the turn of the loop they need to say so; do not wait for a load."""
        if self._loading is not None:
            await asyncio.wait({self._loading}, timeout=0.05)

    async def _state(self, model: str) -> dict[str, Any]:
        if self._loading is not None and not self._loading.done():
            return {"model": model, "state": "loading"}
        outcome = await self._loaded(model)
        if not isinstance(outcome, InferenceError):
            # It serves, and so is ready, though something newer may have been refused.
            problem = self._registry.problem(*parse_reference(model))
            reason = {"reason": problem} if problem is not None else {}
            return {"model": model, "version": outcome.version.version, "state": "ready", **reason}
        return {"model": model, "state": "failed", "code": outcome.code, "reason": outcome.message}

    async def _loaded(self, model: str) -> ModelSession | InferenceError:
        try:
            return await self._registry.get(*parse_reference(model))
        except InferenceError as exc:
            return exc


def _is_warm(loading: asyncio.Task[list[ModelSession | InferenceError]]) -> bool:
    if loading.cancelled() or loading.exception() is not None:
        return False
    return not any(isinstance(outcome, InferenceError) for outcome in loading.result())
