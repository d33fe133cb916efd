"""What a body of a score request costs those who send small ones meanwhile."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference.engine import Engine
from inference.errors import DeadlineExceeded
from inference.fetch.fetcher import Fetcher
from inference.http.messages import Request
from inference.http.score import ScoreRoutes
from inference.models.loading import load_ready_session
from inference.models.registry import ModelRegistry
from inference.models.repository import ModelRepository
from inference.models.source import FolderSource
from inference.scorer import Scorer
from inference.settings import FetchLimits, ImageSettings, RequestLimits
from tests.unit.models.published import pixels_as_logits, write_version


def png() -> bytes:
    stream = BytesIO()
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


class HalfBrokenFetcher:
    """Fails on one url as no fetcher should, and has the image of any other when it is let go."""

    def __init__(self) -> None:
        self.has_failed, self.let_go = asyncio.Event(), asyncio.Event()
        self.fetched: list[str] = []

    async def fetch(self, url: str, *, deadline_seconds: float | None = None) -> bytes:
        if url.endswith("broken"):
            self.has_failed.set()
            raise ZeroDivisionError
        await self.let_go.wait()
        self.fetched.append(url)
        return png()


@pytest.fixture
async def routes(tmp_path: Path) -> AsyncIterator[ScoreRoutes]:
    """Routes to a model that is warm, where a request has a second."""
    write_version(tmp_path, pixels_as_logits())
    limits = FetchLimits()
    with ThreadPoolExecutor(max_workers=1) as executor:
        registry = ModelRegistry(FolderSource(ModelRepository(tmp_path), executor), executor, load=load_ready_session)
        engine, fetcher = Engine(1, 8), Fetcher(limits)
        scorer = Scorer(registry, engine, fetcher, default_model="tiny", images=ImageSettings(), fetch_limits=limits)
        await scorer.session()
        yield ScoreRoutes(scorer, engine, RequestLimits(timeout_seconds=1.0))
        engine.close()
        await registry.close()
        await fetcher.close()


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-encoding": "gzip", "content-type": "image/png"}, gzip.compress(png())),
        ({"content-type": "application/json"}, b'{"data": "' + b"A" * (1 << 20) + b'"}'),
    ],
    ids=["packed", "large"],
)
async def test_a_packed_or_large_body_is_not_read_on_the_event_loop(
    routes: ScoreRoutes, headers: dict[str, str], body: bytes
) -> None:
    is_free = threading.Event()
    threads = ThreadPoolExecutor(max_workers=1)
    asyncio.get_running_loop().set_default_executor(threads)
    threads.submit(is_free.wait)  # the only thread that may read it

    try:
        with pytest.raises(DeadlineExceeded):
            await routes.score(Request("POST", "", {}, headers=headers, body=body, id="r"))
        small = await routes.score(Request("POST", "", {}, headers={"content-type": "image/png"}, body=png(), id="r"))
    finally:
        is_free.set()

    assert small.status == 200


async def test_the_images_beside_one_that_meets_a_bug_end_before_the_request_does(tmp_path: Path) -> None:
    write_version(tmp_path, pixels_as_logits())
    fetcher, images = HalfBrokenFetcher(), ImageSettings()
    with ThreadPoolExecutor(max_workers=1) as executor:
        registry = ModelRegistry(FolderSource(ModelRepository(tmp_path), executor), executor, load=load_ready_session)
        engine = Engine(1, 8)
        scorer = Scorer(registry, engine, fetcher, default_model="tiny", images=images, fetch_limits=FetchLimits())
        body = b'{"inputs": [{"url": "https://h/broken"}, {"url": "https://h/a"}]}'
        request = Request("POST", "", {}, headers={"content-type": "application/json"}, body=body, id="r")
        scoring = asyncio.create_task(ScoreRoutes(scorer, engine, RequestLimits()).score(request))
        await fetcher.has_failed.wait()
        await asyncio.wait({scoring}, timeout=0.05)
        fetcher.let_go.set()

        with pytest.raises(ZeroDivisionError):
            await scoring
        assert fetcher.fetched == ["https://h/a"]
        engine.close()
        await registry.close()
