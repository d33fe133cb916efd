"""The model repository extension: what there is, in which state, and loading and unloading it in this process.

It refuses configurations and files in a load request: a model comes from the repository, or not at all.
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from inference.errors import InferenceError, InvalidRequest, ModelUnavailable, NotFound
from inference.http.compression import unpacked
from inference.http.messages import Request, Response, json_response
from inference.http.oip.lookup import unknown
from inference.http.queries import read_control
from inference.http.reloading import reload_in_time
from inference.models.registry import ModelRegistry, ModelState, State
from inference.settings import RequestLimits

_STATES: Final[Mapping[State, tuple[str, str]]] = {
    "ready": ("READY", ""),
    "loading": ("LOADING", ""),
    "failed": ("UNAVAILABLE", "failed"),
    "unloaded": ("UNAVAILABLE", "unloaded"),
}


#: Only the master key loads; what is in such a body is read to say what of it is not taken.
_MAX_LOAD_BYTES: Final = 64 * 1024 * 1024


# A null is what is not there, as in infer requests: MLServer's types write one.


class _Index(Struct, frozen=True):
    ready: bool | None = None


class _Control(Struct, frozen=True):
    parameters: dict[str, Any] | None = None


class RepositoryRoutes:
    """Handlers of `/v2/repository/…`."""

    def __init__(self, registry: ModelRegistry, limits: RequestLimits) -> None:
        self._registry = registry
        self._limits = limits

    async def index(self, request: Request) -> Response:
        """List every version of every model."""
        wanted = read_control(_Index, await self._body(request))
        states = await self._registry.states()
        return json_response([_describe(state) for state in states if state.state == "ready" or not wanted.ready])

    async def load(self, request: Request) -> Response:
        """Look at the repository anew and load what it says should serve; 200 once that is warm.

        A load that takes longer than a request may goes on, and the reply is a 504.
        """
        parameters = read_control(_Control, await self._body(request), max_bytes=_MAX_LOAD_BYTES).parameters or {}
        name = request.path["model"]
        refused = sorted(name for name in parameters if name == "config" or name.startswith("file:"))
        if refused:
            reason = f"the parameter {refused[0][:100]!r} is not taken, models come from the repository."
            raise InvalidRequest(_failed(name, reason))
        try:
            await reload_in_time(self._registry, name, self._limits)
        except InferenceError as exc:
            raise type(exc)(_failed(name, exc.message), retry_after_seconds=exc.retry_after_seconds) from None
        return Response(200)

    async def unload(self, request: Request) -> Response:
        """Free the memory that the model takes in this process; the next request for it loads it again."""
        read_control(_Control, await self._body(request))
        name = request.path["model"]
        try:
            await self._registry.unload(name)
        except NotFound as exc:
            raise type(exc)(unknown(name)) from None
        return Response(200)

    async def _body(self, request: Request) -> bytes:
        return (await unpacked(request, self._limits)).body

    def check_loaded(self, name: str) -> None:
        """Raise ModelUnavailable for a model that was unloaded and not asked for since: its probe must not load it."""
        if self._registry.is_unloaded(name):
            raise ModelUnavailable(f"{name} was unloaded; a load, or the next request that needs it, brings it back.")


def _describe(state: ModelState) -> dict[str, str]:
    word, reason = _STATES[state.state]
    return {"name": state.name, "version": state.version or "", "state": word, "reason": state.reason or reason}


def _failed(name: str, reason: str) -> str:
    """Return what Triton's examples look for when a model cannot be loaded."""
    return f"failed to load '{name[:100]}': {reason}"
