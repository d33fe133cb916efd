"""Builds the product from settings, once per process, on the first call; `function_app.py` knows only this module.

It refuses to import anything heavy at the top: the Functions worker indexes `function_app.py` inside its start-up
budget of a few seconds, and a cold start should pay only for what the first call needs.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inference.http.messages import Request, Response
    from inference.services import Services

_log = logging.getLogger("inference.wiring")

_services: Services | None = None
_building: asyncio.Task[Services] | None = None
#: Whether this process has drained: it ends in a moment, and builds nothing any more.
_has_drained = False


async def get_services() -> Services:
    """Return this process's services, building them on the first call.

    Raises SettingsError until that works, ShuttingDown once the process has drained.
    """
    global _building
    if _services is not None:
        return _services
    if _has_drained:
        from inference.errors import ShuttingDown

        raise ShuttingDown
    if _building is None:
        _building = asyncio.get_running_loop().create_task(_build_beside_the_loop())
    # A caller that leaves must not have everything built twice.
    return await asyncio.shield(_building)


async def close() -> None:
    """Release what the services hold; the next call builds them anew."""
    global _services
    if _building is not None:
        await asyncio.wait({_building})
    services, _services = _services, None
    if services is not None:
        await services.close()


async def _close_for_good() -> None:
    """Close once the process has drained: a probe in its last moments would build everything anew, and drain again."""
    global _has_drained
    _has_drained = True
    await close()


async def _build_beside_the_loop() -> Services:
    global _services, _building
    try:
        # Importing and building take most of a second: on a thread, so that the loop keeps answering.
        built = await asyncio.to_thread(_build)
        built.draining.listen(_close_for_good)
        _services = built
        return built
    finally:
        _building = None


async def respond(
    route: str,
    method: str,
    url: str,
    path: Mapping[str, str],
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body: bytes,
) -> tuple[int, bytes, dict[str, str]]:
    """Answer one HTTP request by the handler of `route`; return status, body and headers. It never raises."""
    from inference.http import edge
    from inference.http.messages import Request

    async def handler(request: Request) -> Response:
        services = await get_services()
        with services.draining.work():
            return await services.routes[route](request)

    lowered = {name.lower(): value for name, value in headers.items()}
    request = Request(method, edge.base_url(url, lowered), path, query, lowered, body)
    response = await edge.respond(route, handler, request)
    return response.status, response.body, dict(response.headers)


async def handle(queue: str, text: bytes, message_id: str, dequeue_count: int) -> None:
    """Work off one queue message; raising gives it back to the host."""
    from inference.batch.encoding import decode_text
    from inference.batch.ports import Delivery
    from inference.errors import ShuttingDown

    services = await get_services()
    if services.draining.is_set():
        raise ShuttingDown
    with services.draining.work():
        await services.deliveries[queue](Delivery(decode_text(text), message_id, dequeue_count))


async def warm_up() -> None:
    """Prepare storage and begin to load the configured models before this instance gets any work."""
    services = await get_services()
    await services.prepare()


async def poll_models() -> None:
    """Look for newly published models, unless this process has just done so."""
    services = await get_services()
    await services.registry.poll()


def _build() -> Services:
    from inference.imports import importing

    with importing():
        from inference.engine.heap import share_one_heap

        # Before the imports that follow start threads of their own.
        share_one_heap()
        from inference import services

        return services.build(os.environ)
