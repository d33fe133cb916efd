"""What is served: models, versions, states, labels and checksums; and bringing a model up to date at once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any

from msgspec.structs import asdict

from inference.deadline import Deadline
from inference.errors import DeadlineExceeded, ModelNotFound, ModelUnavailable
from inference.http.messages import Request, Response, json_response
from inference.http.reloading import reload_in_time
from inference.models.registry import ModelRegistry, ModelState
from inference.settings import RequestLimits


class ModelRoutes:
    """Handlers of `/models`, `/models/{model}` and `/models/{model}/reload`."""

    def __init__(self, registry: ModelRegistry, limits: RequestLimits) -> None:
        self._registry = registry
        self._limits = limits

    async def list(self, _: Request) -> Response:
        """List every model with the version that serves; models that no one asked for yet are `unloaded`."""
        states = await self._registry.states()
        models = [self._describe([*versions]) for _, versions in groupby(states, key=lambda state: state.name)]
        return json_response({"models": models})

    async def show(self, request: Request) -> Response:
        """Describe one model, loading it first; one that cannot serve says why.

        One whose load takes longer than a request may is `loading`. Raises ModelNotFound.
        """
        name = request.path["model"]
        with suppress(ModelUnavailable, DeadlineExceeded):
            await Deadline.after(self._limits.timeout_seconds).bound(self._registry.get(name))
        return json_response(await self._describe_model(name))

    async def reload(self, request: Request) -> Response:
        """Bring one model up to date in this process and describe it.

        Raises ModelNotFound; ModelUnavailable when what is published cannot serve: what served before goes on serving;
        DeadlineExceeded when a load takes longer than a request may, and goes on.
        """
        name = request.path["model"]
        await reload_in_time(self._registry, name, self._limits)
        return json_response(await self._describe_model(name))

    async def _describe_model(self, name: str) -> dict[str, Any]:
        states = [state for state in await self._registry.states() if state.name == name]
        if not states:
            raise ModelNotFound(f"There is no model {name}.")
        return self._describe(states)

    def _describe(self, states: Sequence[ModelState]) -> dict[str, Any]:
        serving = next((state for state in states if state.is_default), states[-1])
        session = serving.session
        broken = next((state.reason for state in states if state.version is None), None)
        canary = next((state for state in states if state.canary_share is not None), None)
        return {
            "name": serving.name,
            "version": serving.version,
            "versions": [_describe_version(state) for state in states if state.version is not None],
            "state": serving.state,
            "reason": broken or self._registry.problem(serving.name),
            "canary": {"version": canary.version, "share": canary.canary_share} if canary is not None else None,
            "task": session.spec.task if session else None,
            "labels": list(session.spec.output.labels) if session else None,
            "sha256": session.sha256 if session else None,
            "execution": asdict(session.plan) if session and session.plan else None,
        }


def _describe_version(state: ModelState) -> dict[str, Any]:
    return {
        "version": state.version,
        "state": state.state,
        "sha256": state.session.sha256 if state.session else None,
        "reason": state.reason,
    }
