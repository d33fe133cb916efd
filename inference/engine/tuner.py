"""Finds each model's execution plan while nobody needs the cores, and puts it to use.

It refuses to hold up a request: a model serves by its default plan at once, and what is being timed is given up when
work comes. A plan that was found before is taken from the cache.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from dataclasses import asdict
from typing import Literal, Protocol, get_args

from inference.engine.freed_memory import give_back_freed_memory
from inference.engine.measurement import Interrupted, Run, measure
from inference.engine.plan import (
    Declared,
    ExecutionPlan,
    choose_plan,
    default_plan,
    is_steady,
    list_candidates,
    override,
)
from inference.engine.plan_cache import PlanCache
from inference.errors import InferenceError

_log = logging.getLogger("inference.engine")

#: When models are timed: while the service is idle, before a model serves, or never.
type TuningMode = Literal["background", "warm-up", "off"]
TUNING_MODES: tuple[TuningMode, ...] = get_args(TuningMode.__value__)

#: Without work for so long the service counts as idle: longer than the pauses of somebody who clicks.
QUIET_SECONDS = 1.5

#: How often each candidate is timed. With the half a dozen of two cores all takes about two seconds.
ROUNDS = 3

#: The longest pause after timings that others on the machine had spoilt; it doubles up to this.
MAX_PAUSE_SECONDS = 600.0


class Unsteady(Exception):
    """The machine's speed changed while a model was timed; no plan is better than one made of that."""


class Tunable(Protocol):
    """A loaded model, as the tuner sees it."""

    @property
    def sha256(self) -> str:
        """The checksum of what runs."""

    @property
    def declared(self) -> Declared:
        """What its author fixed."""

    @property
    def can_batch(self) -> bool:
        """Whether several items may be one run."""

    def open_run(self, threads: int, *, spinning: bool) -> Run | None:
        """Return a way to run so; None for a model that only real requests can run. Raises InferenceError."""

    def adopt(self, plan: ExecutionPlan) -> None:
        """Run by this plan from now on. Raises InferenceError, and then goes on as before."""


class Tuner:
    """Models in the order in which they were offered, one at a time, on a thread of its own."""

    def __init__(
        self,
        mode: TuningMode,
        cores: int,
        cache: PlanCache,
        is_quiet: Callable[[float], bool],
        *,
        quiet_seconds: float = QUIET_SECONDS,
    ) -> None:
        """`is_quiet(seconds)` tells, on any thread, whether nothing was computed for so long."""
        self._mode = mode
        self._cores = cores
        self._cache = cache
        self._is_quiet = is_quiet
        self._quiet_seconds = quiet_seconds
        self._pause_seconds = quiet_seconds
        self._pending: list[weakref.ref[Tunable]] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def offer(self, model: Tunable) -> None:
        """Give a model its default plan, and have it tuned when it suits; at once with `warm-up`. On any thread.

        Raises InferenceError for a default plan that the model cannot take.
        """
        model.adopt(override(default_plan(self._cores), model.declared, self._cores))
        if model.declared.is_complete:
            return
        if self._mode == "warm-up":
            self._tune(model, is_free=lambda: not self._is_closed)
        elif self._mode == "background":
            with self._changed:
                self._pending.append(weakref.ref(model))
                self._changed.notify()
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work_off, name="tuner", daemon=True)
                    self._thread.start()

    def close(self) -> None:
        """Give up what is being timed, and end the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _work_off(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._is_closed)
                while not (self._is_closed or self._is_quiet(self._quiet_seconds)):
                    self._changed.wait(self._quiet_seconds / 2)
                if self._is_closed:
                    return
                reference = self._pending.pop(0)
            model = reference()
            # A model that was dropped meanwhile needs no plan.
            if model is not None and not self._tune(model, is_free=self._is_free):
                with self._changed:
                    self._pending.append(reference)
            del model

    def _pause(self) -> None:
        """Wait longer each time; with `warm-up` the model serves by its default instead."""
        if self._mode != "background":
            return
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed, timeout=self._pause_seconds)
        self._pause_seconds = min(2 * self._pause_seconds, MAX_PAUSE_SECONDS)

    def _is_free(self) -> bool:
        return not self._is_closed and self._is_quiet(0.0)

    def _tune(self, model: Tunable, *, is_free: Callable[[], bool]) -> bool:
        """Find and adopt the model's plan; return whether that is settled, for better or worse."""
        try:
            key = f"{model.sha256}\n{model.declared}"
            plan = self._cache.read(key, self._cores)
            if plan is None:
                try:
                    plan = self._find(model, is_free)
                finally:
                    # Of the sessions that were tried, also when nothing came of it.
                    give_back_freed_memory()
                if plan is None:
                    return True
                self._cache.write(key, self._cores, plan)
            model.adopt(plan)
        except Interrupted:
            return False
        except Unsteady:
            _log.info("model not tuned yet", extra={"action": "model_not_tuned", "reason": "the machine is not steady"})
            self._pause()
            return False
        except Exception as exc:  # a model that serves must not be lost to a faster way to run it
            reason = exc.message if isinstance(exc, InferenceError) else type(exc).__name__
            _log.warning("model not tuned", extra={"action": "model_not_tuned", "reason": reason})
            return True
        _log.info("model tuned", extra={"action": "model_tuned", "sha256": model.sha256, **asdict(plan)})
        return True

    def _find(self, model: Tunable, is_free: Callable[[], bool]) -> ExecutionPlan | None:
        candidates = list_candidates(self._cores, model.declared, can_batch=model.can_batch)
        if len(candidates) == 1:
            return None
        timings = []
        # Each in turn, so that what disturbs one of them does not disturb it every time.
        for candidate in candidates * ROUNDS:
            try:
                run = model.open_run(candidate.threads, spinning=candidate.spinning)
                if run is None:
                    return None
                timings.append(measure(candidate, run, is_free))
                run = None  # its session goes before the next one comes
            except InferenceError:
                # What the model cannot do, join items for one, is no way to run it; the first one it must be able to.
                if candidate == candidates[0]:
                    raise
        if not is_steady(timings):
            raise Unsteady
        return choose_plan(timings, model.declared, self._cores)
