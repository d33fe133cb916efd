"""Parts that are built when they are first needed, once, beside the event loop; it refuses to remember a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
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
    """One part. `build` imports and constructs it, on a thread, once what `begin` awaits is done."""

    def __init__(self, build: Callable[[], T], *, begin: Callable[[], Awaitable[None]] | None = None) -> None:
        self._build = build
        self._begin = begin
        self._building: asyncio.Task[T] | None = None
        self._built: T | None = None

    async def get(self) -> T:
        """Return the part. Raises what `begin` or its constructor raises, and tries again the next time."""
        if self._built is None:
            if self._building is None:
                self._building = asyncio.get_running_loop().create_task(self._build_on_thread())
            # A caller that leaves must not have the part built twice.
            return await asyncio.shield(self._building)
        return self._built

    async def settled(self) -> T | None:
        """Return the part if it was needed, waiting for it while it is being built; None if there is none."""
        if self._building is not None:
            await asyncio.wait({self._building})
        return self._built

    async def _build_on_thread(self) -> T:
        try:
            if self._begin is not None:
                await self._begin()
            self._built = await asyncio.to_thread(self._import_and_build)
        finally:
            self._building = None
        return self._built

    def _import_and_build(self) -> T:
        with importing():
            return self._build()


def route_later[P: Routed](part: Later[P], name: str) -> Handler:
    """Return a handler that has the part's handler of that name answer."""

    async def handle(request: Request) -> Response:
        return await (await part.get()).routes[name](request)

    return handle
