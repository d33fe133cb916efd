"""Parts that are built when they are first needed, once, beside the event loop; it refuses to remember a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec import Struct

from inference.http.messages import Handler, Request, Response
from inference.imports import importing


class Routed(Protocol):
    """A part that answers requests."""

    @property
    def routes(self) -> Mapping[str, Handler]:
        """Its handlers, by name of route."""


class Surface(Struct, frozen=True):
    """Handlers by name of route."""

    routes: Mapping[str, Handler]


class Closable(Protocol):
    """A part that holds connections."""

    async def close(self) -> None:
        """Close them."""


class Later[T]:
    """One part. `build` imports and constructs it, on a thread."""

    def __init__(self, build: Callable[[], T]) -> None:
        self._build = build
        self._building = asyncio.Lock()
        #: None until it was needed.
        self.built: T | None = None

    async def get(self) -> T:
        """Return the part. Raises what its constructor raises, and tries again the next time."""
        if self.built is None:
            async with self._building:
                if self.built is None:
                    self.built = await asyncio.to_thread(self._import_and_build)
        return self.built

    def _import_and_build(self) -> T:
        with importing():
            return self._build()


def route_later[P: Routed](part: Later[P], name: str) -> Handler:
    """Return a handler that has the part's handler of that name answer."""

    async def handle(request: Request) -> Response:
        return await (await part.get()).routes[name](request)

    return handle
