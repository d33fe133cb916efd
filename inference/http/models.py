"""What is served: models, versions, states, labels and checksums."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from inference.errors import ModelNotFound
from inference.http.messages import Request, Response, json_response
from inference.models.registry import ModelRegistry, ModelState


class ModelRoutes:
    """Handlers of `/models` and `/models/{model}`."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry

    async def list(self, _: Request) -> Response:
        """List every model with the version that serves; models that no one asked for yet are `unloaded`."""
        states = await self._registry.states()
        models = [_describe(list(versions)) for _, versions in groupby(states, key=lambda state: state.name)]
        return json_response({"models": models})

    async def show(self, request: Request) -> Response:
        """Describe one model, loading it first. Raises ModelNotFound, ModelUnavailable."""
        name = request.path["model"]
        await self._registry.get(name)
        states = [state for state in await self._registry.states() if state.name == name]
        if not states:
            raise ModelNotFound(f"There is no model {name}.")
        return json_response(_describe(states))


def _describe(states: list[ModelState]) -> dict[str, Any]:
    serving = next((state for state in states if state.is_default), states[-1])
    session = serving.session
    return {
        "name": serving.name,
        "version": serving.version,
        "versions": [
            {
                "version": state.version,
                "state": state.state,
                "sha256": state.session.sha256 if state.session else None,
                "reason": state.reason,
            }
            for state in states
            if state.version is not None
        ],
        "state": serving.state,
        "task": session.spec.task if session else None,
        "labels": list(session.spec.output.labels) if session else None,
        "sha256": session.sha256 if session else None,
    }
