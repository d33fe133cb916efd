"""All routes below `/v2`, by the name that function_app.py gives them; those that only tell something are here.

It refuses the extensions that make no sense in a function (shared memory, logging, tracing) with a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping

from inference.deadline import Deadline
from inference.engine import Engine
from inference.errors import NotFound
from inference.http.messages import Handler, Request, Response, json_response
from inference.http.oip.infer import InferRoutes, Limits
from inference.http.oip.lookup import find_session
from inference.http.oip.metadata import describe_config, describe_model, describe_server
from inference.http.oip.repository import RepositoryRoutes
from inference.http.oip.statistics import Statistics
from inference.models.registry import ModelRegistry
from inference.models.session import ModelSession


class OipRoutes:
    """Handlers of `/v2` and below. `is_ready` is the handler of `/ready`, which knows what must be warm."""

    def __init__(
        self, registry: ModelRegistry, engine: Engine, limits: Limits, is_ready: Handler, *, name: str, version: str
    ) -> None:
        self._registry = registry
        self._is_ready = is_ready
        self._limits = limits.requests
        self._server = describe_server(name, version)
        self._statistics = Statistics()
        self._infer = InferRoutes(registry, engine, self._statistics, limits)
        self._repository = RepositoryRoutes(registry, limits.requests)

    def handlers(self) -> Mapping[str, Handler]:
        """Return every handler by the name of its route."""
        return {
            "oip_server": self.server,
            "oip_live": self.live,
            "oip_ready": self.ready,
            "oip_model": self.model,
            "oip_model_ready": self.model_ready,
            "oip_config": self.config,
            "oip_statistics": self.statistics,
            "oip_infer": self._infer.infer,
            "oip_index": self._repository.index,
            "oip_load": self._repository.load,
            "oip_unload": self._repository.unload,
            "oip_unsupported": self.unsupported,
        }

    async def server(self, _: Request) -> Response:
        """Name the server and its extensions."""
        return json_response(self._server)

    async def live(self, _: Request) -> Response:
        """Say that the process answers."""
        return json_response({"live": True})

    async def ready(self, request: Request) -> Response:
        """Say 200 once every configured model is warm."""
        response = await self._is_ready(request)
        return response if response.status != 200 else json_response({"live": True, "ready": True})

    async def model(self, request: Request) -> Response:
        """Describe a model's inputs and outputs, loading it first."""
        session = await self._find(request)
        name = session.version.name
        versions = [state.version for state in await self._registry.states() if state.name == name and state.version]
        return json_response(describe_model(session, versions))

    async def model_ready(self, request: Request) -> Response:
        """Say 200 when the model can infer, loading it first unless it was unloaded. Raises ModelUnavailable."""
        self._repository.check_loaded(request.path["model"])
        session = await self._find(request)
        return json_response({"name": session.version.name, "ready": True})

    async def config(self, request: Request) -> Response:
        """Describe a model as Triton's configuration does."""
        return json_response(describe_config(await self._find(request), self._limits.max_inputs))

    async def statistics(self, request: Request) -> Response:
        """Tell what this process inferred: by every version that is loaded, or by those that the route names.

        A model named without a version has one entry, of the version that serves: that is what clients expect. It is
        never the canary's, or two looks at a counter could be of two versions.
        """
        if "model" in request.path:
            served = (await self._find(request, may_be_canary=False)).version
            return json_response({"model_stats": [self._statistics.describe(served.name, served.version)]})
        loaded = [state for state in await self._registry.states() if state.session is not None]
        entries = [self._statistics.describe(state.name, state.version) for state in loaded if state.version]
        return json_response({"model_stats": entries})

    async def unsupported(self, request: Request) -> Response:
        """Refuse any other route with a sentence, where the Functions host would send an empty body."""
        path = "/".join(filter(None, (request.path.get("area"), request.path.get("path"))))
        raise NotFound(f"There is no {request.method} /v2/{path[:200]} here.")

    async def _find(self, request: Request, *, may_be_canary: bool = True) -> ModelSession:
        """Return the session that the route names, loading it for as long as a request may take."""
        found = find_session(self._registry, request, may_be_canary=may_be_canary)
        return await Deadline.after(self._limits.timeout_seconds).bound(found)
