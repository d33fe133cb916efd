"""The batch door's way to a model that is not there yet."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inference.batch.ports import ModelPin
from inference.engine import Engine
from inference.errors import ModelUnavailable
from inference.fetch.fetcher import Fetcher
from inference.models.loading import load_ready_session
from inference.models.registry import ModelRegistry
from inference.models.repository import ModelRepository, ModelVersion
from inference.models.session import ModelSession
from inference.models.source import FolderSource
from inference.pinned import PinnedScorer
from inference.scorer import Scorer
from inference.settings import FetchLimits, ImageSettings
from tests.unit.models.published import pixels_as_logits, write_version


async def test_item_is_not_charged_for_a_model_that_takes_longer_to_load_than_it_has(tmp_path: Path) -> None:
    write_version(tmp_path, pixels_as_logits())
    may_load = threading.Event()

    def load(version: ModelVersion) -> ModelSession:
        may_load.wait(120)
        return load_ready_session(version)

    limits, engine = FetchLimits(), Engine(1, 8)
    with ThreadPoolExecutor(max_workers=2) as executor:
        registry = ModelRegistry(FolderSource(ModelRepository(tmp_path), executor), executor, load=load)
        fetcher = Fetcher(limits)
        scorer = Scorer(registry, engine, fetcher, default_model="tiny", images=ImageSettings(), fetch_limits=limits)
        try:
            # One that passes, and is never counted as an attempt.
            with pytest.raises(ModelUnavailable, match="tiny:1 takes longer to load"):
                await PinnedScorer(scorer, engine).score("https://host/", ModelPin("tiny", "1", "sha"), {}, 0.1)
        finally:
            may_load.set()
            engine.close()
            await registry.close()
            await fetcher.close()
