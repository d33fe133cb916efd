"""From the route of a request to a warm session; it refuses to phrase what clients match on in any other way."""

from __future__ import annotations

from inference.errors import NotFound
from inference.http.messages import Request
from inference.models.registry import ModelRegistry
from inference.models.session import ModelSession


async def find_session(registry: ModelRegistry, request: Request, *, may_be_canary: bool = True) -> ModelSession:
    """Return the session of the model, and the version if there is one, that the route names.

    Without a version it is the canary for its share of the request ids, if that is wanted.

    Raises ModelNotFound or ModelVersionNotFound, and ModelUnavailable.
    """
    name, version = request.path["model"], request.path.get("version")
    try:
        return await registry.get(name, version, sticky_key=request.id if may_be_canary else None)
    except NotFound as exc:
        raise type(exc)(unknown(name, version)) from None


def unknown(name: str, version: str | None = None) -> str:
    """Return the sentence of a 404: Triton's clients and examples look for how it begins."""
    named = f"'{name[:100]}'" if version is None else f"'{name[:100]}' version {version[:20]}"
    return f"Request for unknown model: {named} is not found"
