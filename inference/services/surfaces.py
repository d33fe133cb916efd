"""Builds the faces beside scoring: the Open Inference Protocol, and the pages that describe the service.

It refuses to be imported before one of them is asked for.
"""

from __future__ import annotations

from inference import __version__
from inference.engine import Engine
from inference.http.messages import Handler
from inference.http.oip import OipRoutes
from inference.http.oip.infer import Limits
from inference.http.pages import PageRoutes
from inference.models.registry import ModelRegistry
from inference.services.later import Surface
from inference.settings import Settings


def build_protocol(chosen: Settings, registry: ModelRegistry, engine: Engine, is_ready: Handler) -> Surface:
    """Build the routes below `/v2`."""
    limits = Limits(chosen.requests, chosen.images, chosen.fetch)
    name = chosen.protocol.server_name
    return Surface(OipRoutes(registry, engine, limits, is_ready, name=name, version=__version__).handlers())


def build_pages() -> Surface:
    """Build the description of the API and the pages."""
    pages = PageRoutes(__version__)
    return Surface({"openapi": pages.openapi, "docs": pages.docs, "ui": pages.ui})
