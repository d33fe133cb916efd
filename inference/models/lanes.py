"""The ways one model runs: a lane for many runs at once, and where the plan has one, a lane for a run that is alone.

It refuses to choose a plan, and to leave a lane that works for one that does not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

from inference.engine.plan import ExecutionPlan


@dataclass(frozen=True, slots=True)
class Lanes:
    """onnxruntime's sessions of one model, by one plan; exchanged as a whole."""

    #: None until there is one: as many runs at once as there are callers, with the session's own threads.
    plan: ExecutionPlan | None
    loaded: Any
    idle: Any | None = None
    #: Held by a run in the loaded lane.
    turn: AbstractContextManager[Any] = field(default_factory=nullcontext)

    def run(self, names: Sequence[str], feeds: dict[str, Any], run_options: Any, *, is_alone: bool) -> Sequence[Any]:
        """Run once; `is_alone` promises every core. Raises whatever onnxruntime raises."""
        if is_alone and self.idle is not None:
            return cast("Sequence[Any]", self.idle.run(names, feeds, run_options))
        with self.turn:
            return cast("Sequence[Any]", self.loaded.run(names, feeds, run_options))


def open_lanes(plan: ExecutionPlan, old: Lanes, old_threads: int, create: Callable[[int, bool], Any]) -> Lanes:
    """Return the lanes of a plan; `old`'s session stays where its threads are the plan's. Raises as `create`.

    The turns hold the runs to `parallel`: with more threads a run than one, the engine's cores admit too many.
    """
    loaded = old.loaded if plan.threads == old_threads else create(plan.threads, False)
    idle = create(plan.idle_threads, plan.spinning) if plan.has_idle_lane else None
    return Lanes(plan, loaded, idle, threading.BoundedSemaphore(plan.parallel))
