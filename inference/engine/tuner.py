"""Finds each model's execution plan while nobody needs the cores, and puts it to use.

It refuses to hold up a request: a model serves by its default plan at once, and what is being timed is given up when
work comes. A plan that was found before is taken from the cache.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol

from msgspec import Struct
from msgspec.structs import asdict

from inference.engine.heap import give_back_freed_memory
from inference.engine.measurement import Interrupted, OpenRun, measure
from inference.engine.plan import (
    Candidate,
    Declared,
    ExecutionPlan,
    Timing,
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

#: Without work for so long the service counts as idle: longer than the pauses of somebody who clicks.
QUIET_SECONDS = 1.5

#: How often each candidate is timed, with a pause between. One round of two cores' half a dozen takes half a second.
ROUNDS = 3

#: The longest pause after timings that others on the machine had spoilt; it doubles up to this.
MAX_PAUSE_SECONDS = 600.0

#: Of a checksum, in the log's text: as many as `onnxfn model list` shows.
_SHOWN_DIGITS = 12


class _Pending(Struct, eq=False):
    """A model whose plan is not settled yet."""

    model: weakref.ref[Tunable]
    #: The plan that was found before, if any: it needs no quiet.
    found: ExecutionPlan | None
    #: After timings that others spoilt: when to try again, by the monotonic clock, and the pause before that.
    not_before: float = 0.0
    pause_seconds: float = 0.0


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

    def trial(self, is_free: Callable[[], bool]) -> AbstractContextManager[OpenRun | None]:
        """Return a block in which ways to run can be opened and timed; None where only real requests can run.

        Block and opening raise InferenceError, and a run Interrupted once `is_free` says no.
        """

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
        self._pending: list[_Pending] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        #: Whether a model took up a plan since memory was last given back; what it ran by may have been in use then.
        self._has_replaced = False

    def offer(self, model: Tunable) -> None:
        """Give a model its default plan, and have it tuned when it suits; at once with `warm-up`. On any thread.

        Raises InferenceError for a default plan that the model cannot take.
        """
        model.adopt(override(default_plan(self._cores), model.declared, self._cores))
        if model.declared.is_complete:
            return
        if self._mode == "off":
            return
        pending = _Pending(weakref.ref(model), self._cache.read(_key(model), self._cores))
        if self._mode == "warm-up":
            self._settle(model, pending, is_free=lambda: not self._is_closed)
            return
        with self._changed:
            # A service that is never idle times nothing, and may load and drop models for months.
            self._pending = [earlier for earlier in self._pending if earlier.model() is not None]
            self._pending.append(pending)
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
        while (pending := self._take()) is not None:
            model = pending.model()
            # A model that was dropped meanwhile needs no plan.
            if model is not None and not self._settle(model, pending, is_free=self._is_free):
                with self._changed:
                    self._pending.append(pending)
            del model

    def _take(self) -> _Pending | None:
        """Wait for a model whose time has come; None when the tuner is closed."""
        with self._changed:
            while not self._is_closed:
                now = time.monotonic()
                due = [pending for pending in self._pending if pending.found or pending.not_before <= now]
                due.sort(key=lambda pending: pending.found is None)
                if due and (due[0].found or self._is_quiet(self._quiet_seconds)):
                    self._pending.remove(due[0])
                    return due[0]
                if self._has_replaced and self._is_quiet(self._quiet_seconds):
                    give_back_freed_memory()
                    self._has_replaced = False
                later = min((pending.not_before - now for pending in self._pending), default=None)
                self._changed.wait(self._quiet_seconds / 2 if due or self._has_replaced else later)
        return None

    def _is_free(self) -> bool:
        return not self._is_closed and self._is_quiet(0.0)

    def _settle(self, model: Tunable, pending: _Pending, *, is_free: Callable[[], bool]) -> bool:
        """Find and adopt the model's plan; return whether that is settled, for better or worse."""
        which = model.sha256[:_SHOWN_DIGITS]
        try:
            plan = pending.found or self._find(model, is_free)
            if plan is None:
                return True
            if not pending.found:
                self._cache.write(_key(model), self._cores, plan)
            model.adopt(plan)
            self._has_replaced = True
        except Interrupted:
            return False
        except Unsteady:
            # Longer each time; with `warm-up` the model serves by its default instead.
            pending.pause_seconds = min(max(2 * pending.pause_seconds, self._quiet_seconds), MAX_PAUSE_SECONDS)
            pending.not_before = time.monotonic() + pending.pause_seconds
            extra = {"action": "model_not_tuned", "reason": "the machine is not steady"}
            _log.info("model %s not tuned yet", which, extra=extra)
            return False
        except Exception as exc:  # a model that serves must not be lost to a faster way to run it
            reason = exc.message if isinstance(exc, InferenceError) else type(exc).__name__
            extra = {"action": "model_not_tuned", "reason": reason}
            _log.warning("model %s not tuned: %s", which, reason, extra=extra)
            return True
        _log.info("model %s tuned", which, extra={"action": "model_tuned", "sha256": model.sha256, **asdict(plan)})
        return True

    def _find(self, model: Tunable, is_free: Callable[[], bool]) -> ExecutionPlan | None:
        candidates = list_candidates(self._cores, model.declared, can_batch=model.can_batch)
        if len(candidates) == 1:
            return None
        timings: list[Timing] = []
        try:
            with model.trial(is_free) as open_run:
                if open_run is None:
                    return None
                # Each in turn, so that what disturbs one of them does not disturb it every time.
                for number in range(ROUNDS):
                    if number:
                        self._pause()
                    timings += _time(candidates, open_run, is_free)
        finally:
            # Of the sessions that were tried, also when nothing came of it.
            give_back_freed_memory()
        if not is_steady(timings):
            raise Unsteady
        return choose_plan(timings, model.declared, self._cores)

    def _pause(self) -> None:
        """Let pass what slows the machine for a second or so; not while somebody waits for the model."""
        if self._mode == "background":
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed, timeout=self._quiet_seconds)


def _key(model: Tunable) -> str:
    return f"{model.sha256}\n{model.declared}"


def _time(candidates: Sequence[Candidate], open_run: OpenRun, is_free: Callable[[], bool]) -> Iterator[Timing]:
    for candidate in candidates:
        try:
            yield measure(candidate, open_run(candidate.threads, candidate.spinning), is_free)
        except InferenceError:
            # What the model cannot do, join items for one, is no way to run it; the first one it must be able to.
            if candidate == candidates[0]:
                raise
