"""The ways one model runs: a lane for many runs at once, and where the plan has one, a lane for a run that is alone.

It refuses to choose a plan, and to leave a lane that works for one that does not.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, cast

from msgspec import Struct

from inference.engine.plan import ExecutionPlan
from inference.engine.termination import turn
from inference.models.session_factory import SessionFactory, Way


class Lanes(Struct, frozen=True):
    """onnxruntime's sessions of one model, by one plan; exchanged as a whole."""

    #: None until there is one: as many runs at once as there are callers, with the session's own threads.
    plan: ExecutionPlan | None
    loaded: Any
    idle: Any | None = None
    #: One is held by each run in the loaded lane; None: by none.
    turns: threading.Semaphore | None = None

    def run(self, names: Sequence[str], feeds: dict[str, Any], run_options: Any, *, is_alone: bool) -> Sequence[Any]:
        """Run once; `is_alone` promises every core.

        Raises whatever onnxruntime raises, and DeadlineExceeded for a run that was ended before its turn.
        """
        if is_alone and self.idle is not None:
            return cast("Sequence[Any]", self.idle.run(names, feeds, run_options))
        if self.turns is None:
            return cast("Sequence[Any]", self.loaded.run(names, feeds, run_options))
        with turn(self.turns, run_options):
            return cast("Sequence[Any]", self.loaded.run(names, feeds, run_options))


def open_lanes(plan: ExecutionPlan, old: Lanes, old_threads: int, factory: SessionFactory) -> Lanes:
    """Return the lanes of a plan. Raises ModelUnavailable.

    Two lanes share their weights; for one, `old`'s session stays where its threads are the plan's. The turns hold the
    runs to `parallel`: with more threads a run than one, the engine's cores admit too many.
    """
    turns = threading.BoundedSemaphore(plan.parallel)
    way = Way(plan.threads)
    if plan.has_idle_lane:
        with factory.sharing() as create:
            return Lanes(plan, create(way), create(Way(plan.idle_threads, plan.spinning)), turns)
    return Lanes(plan, old.loaded if plan.threads == old_threads else factory.create(way), None, turns)
