"""Builds what scores: from a source to predictions, and the routes that ask for it.

It refuses to be imported before a model is loaded or a request has come: numpy and Pillow take a tenth of a second.
"""

from __future__ import annotations

from inference.engine import Engine
from inference.http.score import ScoreRoutes
from inference.image import preload
from inference.models.registry import ModelRegistry
from inference.scorer import Fetches, Scorer
from inference.services.later import Surface
from inference.settings import Settings


def build_scoring(chosen: Settings, registry: ModelRegistry, engine: Engine, fetcher: Fetches) -> Surface:
    """Build the routes that score, ready for a first image."""
    preload()
    scorer = build_scorer(chosen, registry, engine, fetcher)
    return Surface({"score": ScoreRoutes(scorer, engine, chosen.requests).score})


def build_scorer(chosen: Settings, registry: ModelRegistry, engine: Engine, fetcher: Fetches) -> Scorer:
    """Build the scoring line on one way to fetch."""
    return Scorer(
        registry,
        engine,
        fetcher,
        default_model=chosen.models.default_model,
        images=chosen.images,
        fetch_limits=chosen.fetch,
    )
