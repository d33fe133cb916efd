"""The scoring line on a model whose items are joined: which lane a lone one takes, and what its stages took."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from inference.deadline import Deadline
from inference.engine import Engine
from inference.engine.plan import ExecutionPlan
from inference.fetch.fetcher import Fetcher
from inference.models.loading import load_ready_session
from inference.models.registry import ModelRegistry
from inference.models.repository import ModelRepository
from inference.models.session import ModelSession
from inference.models.source import FolderSource
from inference.scorer import ScoreParameters, Scorer, Source
from inference.settings import FetchLimits, ImageSettings
from tests.unit.models.counted import Counted

ROOT = Path(__file__).parents[2]
IMAGE = Source(data=(ROOT / "samples/images/digits/digit-8-a.png").read_bytes())
#: Items are joined under load, and a lone one takes two cores.
JOINING = ExecutionPlan(threads=1, parallel=2, max_batch=4, idle_threads=2, spinning=False, origin="tuned")


@asynccontextmanager
async def scoring(engine: Engine) -> AsyncIterator[tuple[Scorer, ModelSession]]:
    limits, repository = FetchLimits(), ModelRepository(ROOT / "samples/models")
    with ThreadPoolExecutor(max_workers=1) as executor:
        registry = ModelRegistry(FolderSource(repository, executor), executor, load=load_ready_session)
        fetcher = Fetcher(limits)
        scorer = Scorer(registry, engine, fetcher, default_model="digits", images=ImageSettings(), fetch_limits=limits)
        session = await scorer.session()
        session.adopt(JOINING)
        try:
            yield scorer, session
        finally:
            engine.close()
            await registry.close()
            await fetcher.close()


async def test_lone_item_of_a_model_that_joins_them_takes_the_lane_of_every_core() -> None:
    engine = Engine(2, 8)
    async with scoring(engine) as (scorer, session):
        lanes = session._lanes
        loaded, idle = Counted(lanes.loaded), Counted(lanes.idle)
        object.__setattr__(lanes, "loaded", loaded)
        object.__setattr__(lanes, "idle", idle)

        with engine.admit() as permit:
            score = await scorer.score(IMAGE, session, ScoreParameters(), permit, Deadline.after(120))

    assert score.predictions[0]["label"] == "8"
    assert (loaded.runs, idle.runs) == (0, 1)


async def test_waiting_for_a_core_is_no_part_of_a_joined_run() -> None:
    engine, started, let_go = Engine(1, 8), threading.Event(), [threading.Event(), threading.Event()]

    def hold(number: int) -> None:
        started.set()
        assert let_go[number].wait(120)
        started.clear()

    async with scoring(engine) as (scorer, session):
        with engine.admit() as permit:
            before = asyncio.create_task(engine.compute(permit, lambda: hold(0), Deadline.after(120)))
            assert await asyncio.to_thread(started.wait, 120)
            scoring_it = asyncio.create_task(
                scorer.score(IMAGE, session, ScoreParameters(), permit, Deadline.after(120))
            )
            await asyncio.sleep(0)
            # Comes between the item's preparation and its run.
            between = asyncio.create_task(engine.compute(permit, lambda: hold(1), Deadline.after(120)))
            await asyncio.sleep(0)
            let_go[0].set()
            await before
            asyncio.get_running_loop().call_later(1.0, let_go[1].set)
            await between
            timings = (await scoring_it).timings.as_dict()

    assert timings["run"] < 500 < timings["queue"]
